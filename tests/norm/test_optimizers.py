"""An optimizer's state dict from before `insert_` or `strip_biases_` loads after it, parameter by parameter."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from onesigma.norm import insert_, strip_biases_


def mlp(*, norms: bool) -> nn.Module:
    torch.manual_seed(0)
    norm: Callable[[], nn.Module] = (lambda: nn.BatchNorm1d(8)) if norms else nn.Identity
    return nn.Sequential(nn.Linear(5, 8), norm(), nn.Tanh(), nn.Linear(8, 8), norm(), nn.Tanh(), nn.Linear(8, 2))


def batch() -> torch.Tensor:
    return torch.randn(32, 5, generator=torch.Generator().manual_seed(0))


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch()).square().sum().backward()
        optimizer.step()


def in_one(model: nn.Module) -> Any:
    return model.parameters()


def in_two(model: nn.Module) -> Any:
    weights, others = ([p for p in model.parameters() if (p.dim() > 1) is flag] for flag in (True, False))
    return [{"params": weights, "weight_decay": 0.1}, {"params": others}]


def named(model: nn.Module) -> Any:
    return model.named_parameters()


CHANGES: dict[str, Callable[..., Any]] = {
    "insert": lambda model, optimizer: insert_(model, batch(), optimizer=optimizer),
    "insert after": lambda model, optimizer: insert_(model, batch(), optimizer=optimizer, position="after"),
    "insert layer norm": lambda model, optimizer: insert_(model, batch(), optimizer=optimizer, kind="layer"),
    "strip": lambda model, optimizer: strip_biases_(model, batch(), optimizer=optimizer),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": torch.optim.AdamW,
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "plain sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
}


def kept(optimizer: torch.optim.Optimizer, model: nn.Module, *, original: nn.Module) -> list[Any]:
    """What the optimizer keeps of the parameters that the original model has too, in its order."""
    layers, others = ([m for m in net.modules() if isinstance(m, nn.Linear)] for net in (model, original))
    pairs = [
        (layer._parameters[key], None)
        for layer, other in zip(layers, others, strict=True)
        for key in ("weight", "bias")
        if layer._parameters[key] is not None and other._parameters[key] is not None
    ]
    return [optimizer.state.get(parameter, {}) for parameter, _ in pairs]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("grouped", [in_one, in_two, named])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_old_state_dict_goes_to_the_parameters_it_is_of(change: str, grouped: Any, kind: str) -> None:
    model = mlp(norms=change == "strip")
    optimizer = OPTIMIZERS[kind](grouped(model))
    trained(model, optimizer)
    old, original = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(model)
    CHANGES[change](model, optimizer)
    expected = copy.deepcopy(kept(optimizer, model, original=original))
    trained(model, optimizer)  # so that it knows something else by now
    optimizer.load_state_dict(old)
    for found, state in zip(kept(optimizer, model, original=original), expected, strict=True):
        assert found.keys() == state.keys()
        torch.testing.assert_close(found, state, rtol=0, atol=0)
    trained(model, optimizer)


@pytest.mark.parametrize("change", CHANGES)
def test_a_new_state_dict_loads_as_it_is(change: str) -> None:
    model = mlp(norms=change == "strip")
    optimizer = torch.optim.Adam(model.parameters())
    trained(model, optimizer)
    CHANGES[change](model, optimizer)
    trained(model, optimizer)
    new = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(new)
    torch.testing.assert_close(optimizer.state_dict(), new, rtol=0, atol=0)


def test_state_from_before_two_changes_goes_through_both() -> None:
    model = mlp(norms=False)
    optimizer = torch.optim.Adam(model.parameters())
    trained(model, optimizer)
    old, weight = copy.deepcopy(optimizer.state_dict()), model[-1].weight
    insert_(model, batch(), optimizer=optimizer, layers=["0"], position="after")
    middle = copy.deepcopy(optimizer.state_dict())
    insert_(model, batch(), optimizer=optimizer, layers=["3"])
    for state_dict in (old, middle):
        optimizer.load_state_dict(state_dict)
        assert torch.equal(optimizer.state[weight]["exp_avg"], old["state"][4]["exp_avg"])


def test_undo_takes_the_hook_and_the_names_back() -> None:
    model = mlp(norms=False)
    optimizer = torch.optim.Adam(model.named_parameters())
    trained(model, optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    edits = insert_(model, batch(), optimizer=optimizer)
    names = optimizer.param_groups[0]["param_names"]
    assert len(names) == len(optimizer.param_groups[0]["params"])
    assert {name for name, _ in model.named_parameters()} >= set(names[-4:])
    edits.undo()
    assert not optimizer._optimizer_load_state_dict_pre_hooks
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)

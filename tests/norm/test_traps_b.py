"""Traps 23, 28, 29 of batch normalization: weights without scale, modes in exports, copies that share or untie."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from onesigma.norm import (
    SyncBatchNorm,
    accumulated,
    fold_,
    freeze_,
    ghost_,
    keep_float32_,
    nonfinite_vetoed,
    once_per_step,
    paused,
    renorm_,
    synchronize_,
)

CONVERSIONS = {
    "freeze": freeze_,
    "synchronize": synchronize_,
    "ghost": lambda model: ghost_(model, size=4),
    "renorm": renorm_,
    "float32": keep_float32_,
}


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    for seed in range(3):
        model(seeded(16, 3, seed=seed) * 2 + 1)
    return model


# 23: weights before a BatchNorm have no scale


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("name", ["plain", "ghost", "synchronize"])
def test_scaling_the_weight_before_a_norm_changes_no_output_and_divides_its_gradient(name: str, factor: float) -> None:
    """BN((aW)x) = BN(Wx) and ∂/∂(aW) = (1/a) ∂/∂W, exactly so for eps = 0; Ioffe & Szegedy 2015, section 3.3."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, eps=1e-30)).double()
    if name != "plain":
        CONVERSIONS[name](model)
    scaled, x, direction = copy.deepcopy(model), seeded(16, 3).double(), seeded(16, 4, seed=1).double()
    with torch.no_grad():
        scaled[0].weight.mul_(factor)
    outputs = [each(x) for each in (model, scaled)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * direction).sum().backward()
    torch.testing.assert_close(scaled[0].weight.grad * factor, model[0].weight.grad)
    # So the gradient is orthogonal to the weight: without decay its norm can only grow.
    along = (model[0].weight.grad * model[0].weight).sum()
    assert abs(along) <= 1e-12 * model[0].weight.grad.norm() * model[0].weight.norm()


def test_frozen_statistics_give_the_weight_its_scale_back() -> None:
    model, x = net(), seeded(16, 3)
    freeze_(model)
    before = model(x)
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert not torch.allclose(model(x), before)


# 28: compile and export


@pytest.mark.parametrize("name", ["freeze", "synchronize", "ghost", "renorm", "float32"])
def test_an_export_in_eval_mode_has_the_statistics_in_it_and_not_the_batch(name: str) -> None:
    model, x = net(), seeded(8, 3)
    CONVERSIONS[name](model)
    model.eval()
    program = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(program(x), model(x))
    other = torch.cat([x[:1], 100 * x[1:]])  # the first sample does not feel its neighbors
    torch.testing.assert_close(program(other)[0], model(x)[0])


def test_a_frozen_model_exported_in_training_mode_normalizes_by_its_statistics() -> None:
    model, x = net(), seeded(8, 3)
    expected = copy.deepcopy(model).eval()(x)
    freeze_(model)
    torch.testing.assert_close(torch.export.export(model.train(), (x,)).module()(x), expected)


def test_folding_looks_at_eval_whatever_mode_the_model_and_its_wrapper_are_in() -> None:
    for make in (lambda: net().train(), lambda: torch.compile(net().train(), backend="eager")):
        model, x = make(), seeded(8, 3)
        expected = net().eval()(x)
        (edit,) = fold_(model, x)
        assert edit.applied
        torch.testing.assert_close(model.eval()(x), expected)


def compiled_before() -> tuple[nn.Module, nn.Module]:
    model = net()
    compiled = torch.compile(model, backend="eager")
    compiled(seeded(8, 3))
    return model, compiled


def compiled_in_place() -> tuple[nn.Module, nn.Module]:
    model = net()
    model.compile(backend="eager")
    model(seeded(8, 3))
    return model, model


@pytest.mark.parametrize("make", [compiled_before, compiled_in_place])
def test_a_model_that_was_compiled_before_keeps_to_the_controls(
    make: Callable[[], tuple[nn.Module, nn.Module]],
) -> None:
    (model, compiled), x = make(), seeded(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start = int(model[1].num_batches_tracked)
    with paused(compiled):
        compiled(x)
    with once_per_step(compiled, optimizer):
        compiled(x)
        compiled(x)
    assert int(model[1].num_batches_tracked) == start + 1
    with accumulated(compiled, optimizer), paused(compiled):
        compiled(x)
    with accumulated(compiled, optimizer):
        compiled(x)
        compiled(x)
        optimizer.step()
    with nonfinite_vetoed(compiled) as refusals:
        compiled(x * torch.inf)
    assert refusals == ["1"]
    assert int(model[1].num_batches_tracked) == start + 2
    compiled(x)
    assert int(model[1].num_batches_tracked) == start + 3


# 29: copies


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_copy_shares_nothing_with_the_converted_model(name: str) -> None:
    model, x = net(), seeded(16, 3)
    CONVERSIONS[name](model)
    other = copy.deepcopy(model)
    ours = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    theirs = {tensor.untyped_storage().data_ptr() for tensor in (*other.parameters(), *other.buffers())}
    assert not ours & theirs
    before = [tensor.clone() for tensor in other.state_dict().values()]
    model.train()(x * 9)
    assert all(map(torch.equal, other.state_dict().values(), before))


@pytest.mark.parametrize("name", CONVERSIONS)
def test_converting_a_copy_leaves_the_original_what_it_was(name: str) -> None:
    model = net()
    other = copy.deepcopy(model)
    CONVERSIONS[name](other)
    assert type(model[1]) is nn.BatchNorm1d
    assert model.train()[1].training
    assert model[1].weight.requires_grad


def test_folding_a_copy_leaves_the_original_what_it_was() -> None:
    model, x = net().eval(), seeded(8, 3)
    expected, other = model(x), copy.deepcopy(model)
    fold_(other, x)
    assert torch.equal(model(x), expected)
    assert isinstance(model[1], nn.BatchNorm1d)


def test_tied_weights_stay_tied_through_every_conversion_and_are_not_folded() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.norm(self.first(x)).relu())

    model = Tied().eval()
    synchronize_(model)
    assert isinstance(model.norm, SyncBatchNorm)
    with pytest.warns(UserWarning, match="tied"):
        assert not fold_(model, seeded(8, 4)).applied
    assert model.second.weight is model.first.weight
    assert copy.deepcopy(model).second.weight is not model.first.weight

"""Frozen norms stay in eval mode, and come back as what they were."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, freeze_, unfreeze_


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Activated(nn.BatchNorm1d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


NORMS = {
    "1d": (lambda: nn.BatchNorm1d(3), (8, 3)),
    "2d": (lambda: nn.BatchNorm2d(3, momentum=None), (8, 3, 4, 4)),
    "3d": (lambda: nn.BatchNorm3d(3, momentum=0.3, eps=1e-3), (8, 3, 2, 2, 2)),
    "no affine": (lambda: nn.BatchNorm1d(3, affine=False), (8, 3)),
    "sync": (lambda: nn.SyncBatchNorm(3), (8, 3)),
    "subclass": (lambda: Activated(3), (8, 3)),
    "last": (lambda: BatchNormLast(3), (8, 5, 3)),
}


def model_with(name: str) -> tuple[nn.Module, torch.Tensor]:
    make, shape = NORMS[name]
    model = nn.Sequential(make())
    for seed in range(3):
        model(seeded(*shape, seed=seed) * 2 + 1)
    return model, seeded(*shape, seed=9) * 2 + 1


@pytest.mark.parametrize("name", NORMS)
def test_statistics_do_not_move_and_training_computes_what_eval_does(name: str) -> None:
    model, x = model_with(name)
    expected = copy.deepcopy(model).eval()(x)
    keys, values = list(model.state_dict()), copy.deepcopy(list(model.state_dict().values()))
    freeze_(model)
    model.train()
    assert torch.equal(model(x), expected)
    assert list(model.state_dict()) == keys
    assert all(map(torch.equal, model.state_dict().values(), values))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("way", ["unfreeze", "undo"])
def test_the_way_back_is_without_loss(name: str, way: str) -> None:
    model, _ = model_with(name)
    if len(list(model.parameters())):
        next(model.parameters()).requires_grad_(False)
    before, attributes = fingerprint(model), dict(model[0].__dict__)
    edits = freeze_(model)
    _ = unfreeze_(model) if way == "unfreeze" else edits.undo()
    assert fingerprint(model) == before
    assert type(model[0]) is type(NORMS[name][0]())
    assert model[0].__dict__ == attributes


def test_what_was_frozen_twice_is_free_after_two_ways_back() -> None:
    model, _ = model_with("1d")
    freeze_(model)
    freeze_(model)
    unfreeze_(model)
    assert not model.train()[0].training
    unfreeze_(model)
    assert model[0].training
    assert model[0].weight.requires_grad
    with pytest.warns(NoEffectWarning):
        unfreeze_(model)


def test_unfreezing_can_be_undone() -> None:
    model, _ = model_with("1d")
    freeze_(model)
    before = fingerprint(model)
    unfreeze_(model).undo()
    assert fingerprint(model) == before
    unfreeze_(model)
    assert model[0].weight.requires_grad


@pytest.mark.parametrize("mode", [True, False])
def test_unfreezing_takes_up_the_mode_that_was_asked_for_last(mode: bool) -> None:
    model, _ = model_with("1d")
    freeze_(model)
    model.train(mode)
    unfreeze_(model)
    assert model[0].training == mode


@pytest.mark.parametrize("name", ["2d", "sync", "last"])
def test_frozen_models_can_be_copied_and_stored(name: str) -> None:
    model, x = model_with(name)
    freeze_(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)):
        other.train()
        assert torch.equal(other(x), model(x))
        unfreeze_(other)
        assert other[0].training
        assert not model[0].training


def test_only_the_chosen_layers_freeze() -> None:
    model = nn.ModuleDict({"a": nn.BatchNorm1d(2), "b": nn.BatchNorm1d(2)})
    freeze_(model, layers=["b*"], affine=False)
    assert (model.a.training, model.b.training) == (True, False)
    assert model.b.weight.requires_grad
    with pytest.raises(ConfigError, match="there are a, b"):
        freeze_(model, layers=["c"])


def test_a_norm_without_statistics_is_refused() -> None:
    with pytest.warns(NoEffectWarning, match="no running statistics"):
        (edit,) = freeze_(nn.BatchNorm1d(2, track_running_stats=False))
    assert not edit.applied


def test_a_checkpoint_of_the_plain_model_loads_into_the_frozen_one_and_back() -> None:
    model, x = model_with("2d")
    fresh = nn.Sequential(NORMS["2d"][0]())
    freeze_(fresh)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.train()(x), copy.deepcopy(model).eval()(x))
    state: dict[str, Any] = fresh.state_dict()
    model.load_state_dict(state)

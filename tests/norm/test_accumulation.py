"""Statistics over micro-batches are those of the whole batch."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, MaskedBatchNorm1d, accumulated, ghost_, nonfinite_vetoed, paused, renorm_


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2 + 5


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.0)


def after_step(norm: nn.Module, parts: Any) -> list[torch.Tensor]:
    norm = copy.deepcopy(norm)
    optimizer = sgd(norm)
    with accumulated(norm, optimizer):
        for part in parts:
            norm(part)
        optimizer.step()
    return list(norm.buffers())


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(2, 58), max_size=5, unique=True), momentum=st.sampled_from([0.1, None, 1.0]))
def test_no_bit_of_the_statistics_depends_on_how_the_batch_is_cut(cuts: list[int], momentum: float | None) -> None:
    x, norm = seeded(60, 3, 2), nn.BatchNorm1d(3, momentum=momentum)
    whole, parts = after_step(norm, [x]), after_step(norm, x.tensor_split(sorted(cuts)))
    assert all(map(torch.equal, whole, parts))
    norm(x)
    for mine, theirs in zip(whole, norm.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_mean_of_ten_thousand_stds_costs_no_digit() -> None:
    x, norm = seeded(64, 3) + 20_000, nn.BatchNorm1d(3, momentum=1.0)
    _, variance, _ = after_step(norm, x.split(4))
    torch.testing.assert_close(variance, x.double().var(0).float(), rtol=1e-6, atol=0)


def test_momentum_is_applied_once_per_step() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1))
    optimizer = sgd(model)
    with accumulated(model, optimizer):
        for _ in range(3):
            for part in seeded(16, 1).split(4):
                model(part)
                assert int(model[0].num_batches_tracked) == optimizer_steps(optimizer)
            optimizer.step()
            optimizer.steps = optimizer_steps(optimizer) + 1
    torch.testing.assert_close(model[0].running_mean, (1 - 0.9**3) * seeded(16, 1).mean(0))


def optimizer_steps(optimizer: Any) -> int:
    return getattr(optimizer, "steps", 0)


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4))
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_pass_that_checkpointing_repeats_counts_once(reentrant: bool) -> None:
    torch.manual_seed(0)
    model, x = Checkpointed(reentrant=reentrant), seeded(16, 3).requires_grad_()
    plain = copy.deepcopy(model.body)
    for module, run in ((model, model), (plain, plain)):
        optimizer = sgd(module)
        with accumulated(module, optimizer):
            for part in x.split(4):
                run(part).square().sum().backward()
            optimizer.step()
    assert all(map(torch.equal, model.buffers(), plain.buffers()))


def test_what_no_step_follows_counts_for_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    before = fingerprint(model)
    with accumulated(model, sgd(model)):
        model(seeded(8, 3))
    assert fingerprint(model) == before
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks


def test_values_that_are_not_finite_leave_the_layer_as_it_was() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)), seeded(8, 3)
    optimizer, before = sgd(model), fingerprint(model)
    with accumulated(model, optimizer) as refusals:
        model(x)
        model(x.masked_fill(x > x.max() - 0.1, torch.inf))
        optimizer.step()
    assert refusals == ["0"]
    assert fingerprint(model) == before


def test_a_pass_in_eval_mode_counts_for_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).eval()
    optimizer, before = sgd(model), fingerprint(model)
    with accumulated(model, optimizer):
        model(seeded(8, 3))
        optimizer.step()
    assert fingerprint(model) == before


def test_other_controls_nest_inside() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)), seeded(8, 3)
    optimizer, (expected, *_) = sgd(model), after_step(nn.BatchNorm1d(3), [x])
    with accumulated(model, optimizer), nonfinite_vetoed(model):
        model(x)
        with torch.no_grad():
            model.eval()(x)
        model.train()
        optimizer.step()
    assert torch.equal(model[0].running_mean, expected)
    with paused(model), accumulated(model, optimizer):
        model(x)
    assert torch.equal(model[0].running_mean, expected)


@pytest.mark.parametrize("kind", ["ghost", "renorm", "last", "masked", "frozen parameters"])
def test_every_kind_of_norm_gives_what_it_normalizes(kind: str) -> None:
    x = seeded(12, 3, 4)
    norm: Any = BatchNormLast(4) if kind == "last" else nn.BatchNorm1d(3)
    if kind in ("ghost", "renorm"):
        ghost_(norm, size=2) if kind == "ghost" else renorm_(norm)
    inputs: list[tuple[torch.Tensor, ...]] = [(part,) for part in x.split(6)]
    table = x.flatten(0, 1) if kind == "last" else x.movedim(1, -1).flatten(0, 1)
    if kind == "masked":
        norm, mask = MaskedBatchNorm1d(3), torch.arange(12 * 4).view(12, 4) % 3 > 0
        inputs = list(zip(x.split(6), mask.split(6), strict=True))
        table = x.movedim(1, -1)[mask]
    optimizer = sgd(norm)
    with accumulated(norm, optimizer):
        for given in inputs:
            norm(*given)
        optimizer.step()
    torch.testing.assert_close(norm.running_mean, 0.1 * table.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * table.var(0))
    assert int(norm.num_batches_tracked) == 1

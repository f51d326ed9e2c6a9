"""Running statistics move when they should, and no other time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from onesigma.model.state import fingerprint
from onesigma.norm import nonfinite_vetoed, once_per_step, paused


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=None)
    )


def test_a_paused_model_trains_alike_and_its_statistics_stand_still() -> None:
    model, x = net(), seeded(8, 3)
    before = fingerprint(model)
    with paused(model):
        output = model(x)
        with paused(model):
            model(x)
        model(x)
    assert fingerprint(model) == before
    assert torch.equal(output, net()(x))
    model(x)
    assert int(model[1].num_batches_tracked) == 1


def test_a_paused_model_in_eval_mode_uses_its_statistics() -> None:
    model, x = net(), seeded(8, 3)
    model(x)
    model.eval()
    expected = model(x)
    with paused(model):
        assert torch.equal(model(x), expected)


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.body, x, use_reentrant=False)


def test_checkpointing_counts_once() -> None:
    model, plain, x = Checkpointed(), net(), seeded(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with once_per_step(model, optimizer):
        for _ in range(3):
            model(x).square().sum().backward()
            optimizer.step()
            plain(x)
    for mine, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_further_passes_before_a_step_count_for_nothing() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with once_per_step(model, optimizer):
        model(seeded(8, 3))
        after_first = [buffer.clone() for buffer in model.buffers()]
        model(seeded(8, 3, seed=1) + 9)
        assert all(map(torch.equal, model.buffers(), after_first))
    model(seeded(8, 3))
    assert int(model[1].num_batches_tracked) == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_batch_with_a_value_that_is_not_finite_is_vetoed(bad: float) -> None:
    model, x = net(), seeded(8, 3)
    model(x)
    before = [buffer.clone() for buffer in model.buffers()]
    spoiled = x.clone()
    spoiled[2, 1] = bad
    with nonfinite_vetoed(model) as refusals:
        model(spoiled)
        assert refusals == ["1", "4"]
        assert all(map(torch.equal, model.buffers(), before))
        model(x)
    assert int(model[1].num_batches_tracked) == 2


@pytest.mark.parametrize("control", [paused, nonfinite_vetoed])
def test_nothing_of_a_control_stays_also_after_an_error(
    control: Callable[[nn.Module], AbstractContextManager[Any]],
) -> None:
    model = net()
    before, hooks = fingerprint(model), len(model[1]._forward_hooks)
    with pytest.raises(KeyError), control(model):
        raise KeyError
    assert fingerprint(model) == before
    assert len(model[1]._forward_hooks) == hooks


def test_a_pass_that_raises_leaves_the_buffers_in_place() -> None:
    model = net()
    before = fingerprint(model)
    with paused(model), pytest.raises(RuntimeError):
        model[1](seeded(8, 7))
    assert fingerprint(model) == before

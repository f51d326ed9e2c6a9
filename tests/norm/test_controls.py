"""Running statistics move when they should, and no other time."""

import copy
import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from onesigma.model.state import fingerprint
from onesigma.norm import accumulated, nonfinite_vetoed, once_per_step, paused, revertible


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
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.body, self.reentrant = net(), reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_counts_once(reentrant: bool) -> None:
    model, plain, x = Checkpointed(reentrant=reentrant), net(), seeded(8, 3).requires_grad_()
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


class SAM(torch.optim.SGD):
    """Sharpness-aware minimization: up the gradient, a second pass there, back, and a step by its gradient."""

    def climb(self) -> None:
        self.climbs = [p.grad.clone() for p in self.param_groups[0]["params"]]
        with torch.no_grad():
            for parameter, climb in zip(self.param_groups[0]["params"], self.climbs, strict=True):
                parameter.add_(climb, alpha=0.1)

    def descend(self) -> None:
        with torch.no_grad():
            for parameter, climb in zip(self.param_groups[0]["params"], self.climbs, strict=True):
                parameter.sub_(climb, alpha=0.1)
        self.step()
        self.zero_grad()


def test_the_second_pass_of_sam_counts_for_nothing() -> None:
    model, x = net(), seeded(8, 3)
    optimizer = SAM(model.parameters(), lr=0.01)
    with once_per_step(model, optimizer):
        for step in range(3):
            before = copy.deepcopy(model)
            before(x)
            model(x).square().sum().backward()
            optimizer.climb()
            model(x).square().sum().backward()
            optimizer.descend()
            assert all(map(torch.equal, model.buffers(), before.buffers()))
            assert int(model[1].num_batches_tracked) == step + 1


def test_fakes_count_for_nothing_in_the_discriminator_of_a_gan() -> None:
    critic, real, fake = net(), seeded(8, 3), seeded(8, 3, seed=1) * 9
    expected = net()
    for _ in range(3):
        expected(real)
        critic(real)
        with paused(critic):
            critic(fake).sum().backward()
    assert all(map(torch.equal, critic.buffers(), expected.buffers()))


CONTROLS = {
    "paused": lambda model, _: paused(model),
    "once": once_per_step,
    "vetoed": lambda model, _: nonfinite_vetoed(model),
    "revertible": lambda model, _: revertible(model),
    "accumulated": accumulated,
}


@pytest.mark.parametrize("names", list(itertools.permutations(CONTROLS, 2)) + [(name, name) for name in CONTROLS])
def test_controls_nest_in_any_order_and_leave_nothing(names: tuple[str, str]) -> None:
    model, x = net(), seeded(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    buffers = list(map(id, model.buffers()))
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(CONTROLS[name](model, optimizer))
        model(x)
        optimizer.step()
    assert list(map(id, model.buffers())) == buffers
    assert int(model[1].num_batches_tracked) == ("paused" not in names)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model(x)
    assert all(bool(buffer.isfinite().all()) for buffer in model.buffers())


class Interrupted(nn.BatchNorm1d):
    """Ctrl-C comes while it runs for the second time."""

    runs = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        if self.runs == 2:
            raise KeyboardInterrupt
        return super().forward(input)


@pytest.mark.parametrize("names", list(itertools.permutations(CONTROLS, 2)) + [(name, name) for name in CONTROLS])
def test_nothing_of_controls_stays_after_ctrl_c(names: tuple[str, str]) -> None:
    """Torch calls no forward hook then, not even those that it always calls."""
    model = nn.Sequential(nn.Linear(3, 4), Interrupted(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    buffers, modes = dict(model[1]._buffers), torch.overrides._get_current_function_mode_stack()
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(CONTROLS[name](model, optimizer))
        model(seeded(8, 3))
        with pytest.raises(KeyboardInterrupt):
            model(seeded(8, 3))
    assert all(model[1]._buffers[name] is value for name, value in buffers.items())
    assert not any((model[1]._forward_hooks, model[1]._forward_pre_hooks, model._forward_hooks))
    assert torch.overrides._get_current_function_mode_stack() == modes


@pytest.mark.parametrize("name", CONTROLS)
def test_a_copy_made_meanwhile_is_free_of_the_control(name: str) -> None:
    model, x, fresh = net(), seeded(8, 3), net()
    with CONTROLS[name](model, torch.optim.SGD(model.parameters(), lr=0.1)):
        other = copy.deepcopy(model)
        other(x)
    fresh(x)
    assert all(map(torch.equal, other.buffers(), fresh.buffers()))


def test_a_step_that_was_none_is_reverted() -> None:
    model, x = net(), seeded(8, 3)
    model(x)
    before = fingerprint(model)
    with revertible(model) as revert:
        model(x)
        revert()
        assert fingerprint(model) == before
        model(x)
        with revertible(model) as inner:
            model(x)
            inner()
        assert int(model[1].num_batches_tracked) == 2
        revert()
    assert fingerprint(model) == before
    with pytest.raises(RuntimeError), revertible(model):
        model[1](model[0](x) + model[1](seeded(8, 7)))
    assert fingerprint(model) == before


def test_a_scaler_that_skips_its_step_can_take_the_statistics_along() -> None:
    model, x = net(), seeded(8, 3)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu")
    before = fingerprint(model)
    with revertible(model) as revert:
        scaler.scale(model(x * torch.inf).sum()).backward()
        scaler.step(optimizer)
        scale = scaler.get_scale()
        scaler.update()
        if scaler.get_scale() < scale:
            revert()
    optimizer.zero_grad()
    assert fingerprint(model) == before

"""Calibrated statistics are those of the data, however the data are cut, and nothing else of the model moves."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from onesigma._errors import BatchError, CaptureError, ConfigError, ModelError, NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, calibrate_, freeze_


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.BatchNorm1d(6))


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and unbiased variance per channel, two passes in float64."""
    wide = x.movedim(1, -1).flatten(0, -2).double()
    return wide.mean(0).to(x.dtype), wide.var(0).to(x.dtype)


def assert_statistics(norm: nn.Module, x: torch.Tensor) -> None:
    mean, variance = moments(x)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)


NORMS = {
    "1d": (nn.BatchNorm1d, (3,)),
    "sequence": (nn.BatchNorm1d, (3, 5)),
    "2d": (nn.BatchNorm2d, (3, 4, 5)),
    "3d": (nn.BatchNorm3d, (3, 2, 3, 2)),
    "sync": (nn.SyncBatchNorm, (3, 4)),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("momentum", [0.1, None, 0.0])
def test_statistics_are_those_of_all_values_for_every_dimension_and_momentum(name: str, momentum: Any) -> None:
    make, shape = NORMS[name]
    norm = make(3, momentum=momentum)
    x = 3 * seeded(23, *shape) - 2
    (edit,) = calibrate_(norm, list(x.split(7)))
    assert_statistics(norm, x)
    assert edit.applied
    assert norm.momentum == momentum
    assert int(norm.num_batches_tracked) == 4


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 1), st.randoms())
def test_any_cut_and_order_of_the_data_gives_the_same_bits(sizes: list[int], random: Any) -> None:
    x = 7 * seeded(sum(sizes), 4) + 1e4
    whole, cut = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    parts = list(x.split(sizes))
    random.shuffle(parts)
    calibrate_(whole, x)
    calibrate_(cut, parts)
    assert torch.equal(whole.running_mean, cut.running_mean)
    assert torch.equal(whole.running_var, cut.running_var)


@pytest.mark.parametrize("mean", [0.0, 1e2, 1e3, 1e4, 1e6])
def test_a_large_mean_costs_no_digit(mean: float) -> None:
    norm = nn.BatchNorm1d(1)
    batches = [seeded(64, 1, seed=seed) + mean for seed in range(50)]
    calibrate_(norm, batches)
    assert_statistics(norm, torch.cat(batches))


def test_a_small_last_batch_weighs_by_its_rows() -> None:
    norm = nn.BatchNorm1d(1)
    calibrate_(norm, [torch.zeros(64, 1), torch.full((2, 1), 66.0)])
    assert norm.running_mean.item() == 2.0


def test_the_variance_between_sorted_domains_is_counted_unless_the_mean_of_batches_is_asked_for() -> None:
    low, high = (
        [seeded(32, 1, seed=seed) - 5 for seed in range(4)],
        [seeded(32, 1, seed=9 + seed) + 5 for seed in range(4)],
    )
    pooled, within = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    calibrate_(pooled, [*low, *high])
    calibrate_(within, [*low, *high], variance="mean_of_batches")
    assert_statistics(pooled, torch.cat([*low, *high]))
    expected = torch.stack([batch.double().var(0) for batch in (*low, *high)]).mean(0).float()
    torch.testing.assert_close(within.running_var, expected)
    assert torch.equal(pooled.running_mean, within.running_mean)
    assert pooled.running_var.item() > 25 > 2 > within.running_var.item()


def test_later_layers_see_what_training_makes_of_the_earlier_ones() -> None:
    model, x = mlp(), seeded(40, 5)
    expected = copy.deepcopy(model).train()
    expected[1].momentum = expected[4].momentum = 1.0
    expected(x)
    calibrate_(model, x)
    for own, other in zip(model.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(own, other)


def test_layer_by_layer_feeds_each_layer_as_inference_will() -> None:
    model, x = mlp(), seeded(40, 5)
    calibrate_(model, list(x.split(7)), order="layer_by_layer")
    model.eval()
    assert_statistics(model[1], model[0](x))
    assert_statistics(model[4], model[:4](x))


@pytest.mark.parametrize("order", ["one_pass", "layer_by_layer"])
def test_an_iterator_that_can_be_drawn_once_does(order: Any) -> None:
    model, again, x = mlp(), mlp(), seeded(40, 5)
    calibrate_(model, iter(list(x.split(8))), order=order)
    calibrate_(again, list(x.split(8)), order=order)
    assert all(map(torch.equal, model.buffers(), again.buffers()))


@pytest.mark.parametrize("order", ["one_pass", "layer_by_layer"])
def test_batches_of_one_row_are_fine(order: Any) -> None:
    model, x = mlp(), seeded(40, 5)
    calibrate_(model, list(x.split(1)), order=order)
    assert_statistics(model[1], model[0](x).detach())
    assert model[4].running_var.min() > 0


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.norm(a) + self.norm(b)


def test_a_reused_layer_counts_all_its_calls() -> None:
    model, a, b = Reused(), seeded(20, 4), 3 * seeded(20, 4, seed=1) + 2
    calibrate_(model, {"a": a, "b": b})
    assert_statistics(model.norm, torch.cat([a, b]))
    assert int(model.norm.num_batches_tracked) == 2


class Subclass(nn.BatchNorm1d):
    """A norm with its activation in it, which calls the function itself."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).relu()


@pytest.mark.parametrize("make", [Subclass, BatchNormLast])
def test_subclasses_are_seen_at_the_function_that_they_call(make: Callable[[int], nn.Module]) -> None:
    norm, x = make(4), seeded(20, 4, 4) * torch.arange(1, 5)
    calibrate_(norm, x)
    assert_statistics(norm, x if make is Subclass else x.transpose(1, 2))


def test_a_frozen_norm_and_dropout_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model.train()
    model[1].eval()
    before = copy.deepcopy(model[1].state_dict())
    edits = calibrate_(model, seeded(400, 4))
    assert [edit.layer for edit in edits.applied] == ["4"]
    assert "frozen" in edits.refused[0].reason
    assert all(torch.equal(value, before[key]) for key, value in model[1].state_dict().items())
    assert [module.training for module in model] == [True, False, True, True, True]
    without_dropout = model[3](copy.deepcopy(model[1])(model[0](seeded(400, 4)))).detach()
    assert_statistics(model[4], without_dropout)


def test_in_a_model_in_eval_mode_all_are_calibrated_but_those_of_freeze() -> None:
    model = mlp().eval()
    assert len(calibrate_(model, seeded(20, 5)).applied) == 2
    freeze_(model, layers=["1"])
    assert [edit.layer for edit in calibrate_(model, seeded(20, 5)).applied] == ["4"]


@pytest.mark.parametrize("order", ["one_pass", "layer_by_layer"])
def test_undo_and_everything_that_is_no_buffer_of_a_norm_is_bit_for_bit_as_before(order: Any) -> None:
    model = mlp().train()
    model(seeded(8, 5)).sum().backward()
    model[0].register_forward_hook(lambda *_: torch.rand(1) and None)
    before = fingerprint(model)
    loader = DataLoader(TensorDataset(seeded(40, 5)), batch_size=16, shuffle=True)
    edits = calibrate_(model, loader, order=order)
    assert fingerprint(model) != before
    edits.undo()
    assert fingerprint(model) == before


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == 3:
            raise KeyError("three")
        return x


@pytest.mark.parametrize("order", ["one_pass", "layer_by_layer"])
def test_when_a_batch_raises_nothing_has_changed(order: Any) -> None:
    model = mlp().append(Broken()).train()
    before = fingerprint(model)
    with pytest.raises(CaptureError, match=r"batch 2.*KeyError.*three"):
        calibrate_(model, list(seeded(19, 5).split(8)), order=order)
    assert fingerprint(model) == before


def failing() -> Iterator[torch.Tensor]:
    yield seeded(8, 5)
    raise OSError("the disk is gone")


def test_an_error_of_the_loader_is_handed_on_and_nothing_has_changed() -> None:
    model = mlp()
    before = fingerprint(model)
    with pytest.raises(OSError, match="disk"):
        calibrate_(model, failing())
    assert fingerprint(model) == before


def test_no_batch_is_an_error() -> None:
    with pytest.raises(BatchError, match="empty"):
        calibrate_(mlp(), [])


def test_a_layer_that_never_runs_is_refused() -> None:
    model = mlp()
    model.spare = nn.BatchNorm1d(2)
    model.forward = lambda x: model[4](model[3](model[1](model[0](x))))
    (refused,) = calibrate_(model, seeded(8, 5)).refused
    assert refused.layer == "spare"
    assert "never ran" in refused.reason


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Linear(5, 5)), "no BatchNorm"),
        (nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False)), "no running statistics"),
    ],
)
def test_no_effect_is_a_warning(model: nn.Module, reason: str) -> None:
    with pytest.warns(NoEffectWarning, match=reason):
        assert not calibrate_(model, seeded(8, 5)).applied


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_refused(bad: float) -> None:
    norm, x = nn.BatchNorm1d(2), seeded(8, 2)
    x[3, 1] = bad
    with pytest.warns(NoEffectWarning, match="1 of its inputs"):
        calibrate_(norm, x)
    assert norm.running_var.tolist() == [1.0, 1.0]


def test_a_variance_that_half_precision_cannot_hold_is_refused() -> None:
    norm = nn.BatchNorm1d(2).half()
    with pytest.warns(NoEffectWarning, match="float16"):
        calibrate_(norm, (400 * seeded(64, 2)).half())


def test_buffers_that_eval_uses_though_training_does_not_are_calibrated() -> None:
    norm, x = nn.BatchNorm1d(3), seeded(20, 3) + 4
    norm.track_running_stats = False
    calibrate_(norm, x)
    assert_statistics(norm, x)


def test_a_forward_function_feeds_what_the_model_cannot_take_itself() -> None:
    model, x = mlp(), seeded(20, 5)
    items = [{"rows": part.numpy(), "name": "a"} for part in x.split(6)]
    calibrate_(model, items, forward=lambda model, item: model(torch.from_numpy(item["rows"])))
    assert_statistics(model[1], model[0](x).detach())


def test_numpy_and_targets_are_read_as_everywhere() -> None:
    model, x = mlp(), seeded(20, 5)
    calibrate_(model, (x.double().numpy(), np.arange(20)))
    assert_statistics(model[1], model[0](x).detach())


def test_the_edit_tells_how_far_the_statistics_were_from_the_data() -> None:
    norm = nn.BatchNorm1d(1)
    x = torch.tensor([[2.0], [4.0], [6.0], [8.0]])
    (edit,) = calibrate_(norm, x)
    assert edit.before == pytest.approx(5 / (20 / 3 + 1e-5) ** 0.5)
    assert edit.after == 0.0
    assert "standard error of a mean 0.5 std" in edit.reason


def test_statistics_that_were_right_are_said_to_have_been() -> None:
    norm, x = nn.BatchNorm1d(4), seeded(4000, 4)
    (first,) = calibrate_(norm, 3 * x)
    (second,) = calibrate_(norm, 3 * seeded(4000, 4, seed=1))
    assert "right before" not in first.reason
    assert "right before" in second.reason


def test_a_loss_tells_whether_it_helped() -> None:
    model, x = mlp(), 5 * seeded(64, 5) + 3
    batches = [(part, torch.zeros(len(part), 6)) for part in x.split(20)]

    def loss_in_eval() -> float:
        return F.mse_loss(copy.deepcopy(model).eval()(x), torch.zeros(64, 6)).item()

    expected = [loss_in_eval()]
    edits = calibrate_(model, batches, loss="mse")
    expected.append(loss_in_eval())
    assert f"{expected[0]:.4g}" in edits[0].reason
    assert f"{expected[1]:.4g}" in edits[0].reason
    assert ("did not help" in edits[0].reason) == (expected[1] >= expected[0])


@pytest.mark.parametrize("wrong", [{"variance": "biased"}, {"order": "random"}])
def test_another_choice_is_refused_with_the_choices(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        calibrate_(mlp(), seeded(8, 5), **wrong)


def test_a_compiled_or_wrapped_model_is_looked_through() -> None:
    model, x = mlp(), seeded(20, 5)
    calibrate_(nn.DataParallel(model), x)
    assert_statistics(model[1], model[0](x).detach())


def test_a_lazy_norm_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="run one batch"):
        calibrate_(nn.Sequential(nn.LazyBatchNorm1d()), seeded(8, 3))


def test_it_stops_at_the_batch_where_the_standard_error_is_small_enough_and_says_so() -> None:
    model, drawn = mlp(), []

    def endless() -> Iterator[torch.Tensor]:
        while True:
            drawn.append(seeded(30, 5, seed=len(drawn)))
            yield drawn[-1]

    class Loader:
        def __iter__(self) -> Iterator[torch.Tensor]:
            return endless()

    edits = calibrate_(model, Loader(), tolerance=0.1)
    assert len(drawn) == 4  # 1/√120 < 0.1 < 1/√90
    assert edits[0].reason.startswith("4 batches, 120 values per channel, standard error of a mean 0.091 std")
    assert_statistics(model[1], model[0](torch.cat(drawn)).detach())


def test_a_tolerance_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        calibrate_(mlp(), seeded(8, 5), tolerance=0.0)


def test_averaged_weights_get_statistics_of_their_own() -> None:
    """Those that AveragedModel copies are of the live weights, and averaged ones of no network at all."""
    model, x = mlp(), seeded(40, 5)
    average = torch.optim.swa_utils.AveragedModel(model)
    for step in range(3):
        with torch.no_grad():
            model[0].weight.add_(seeded(8, 5, seed=step))
        model(x)
        average.update_parameters(model)
    before = fingerprint(model)
    edits = calibrate_(average, list(x.split(9)))
    assert [edit.layer for edit in edits.applied] == ["1", "4"]
    assert_statistics(average.module[1], average.module[0](x).detach())
    assert fingerprint(model) == before

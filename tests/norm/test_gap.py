"""The gap between training and eval, and each of its causes, made on purpose."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError
from onesigma.model.state import fingerprint
from onesigma.norm import RenormLimits, calibrate_, freeze_, gap, ghost_, renorm_

LIMITS = RenormLimits(r_max=1.2, d_max=0.3, warmup=0, r_full=2, d_full=2)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def trained(norm: nn.Module, *, batches: int, size: int = 64, shape: tuple[int, ...] = (), mean: float = 0.0) -> Any:
    """A norm that saw batches from N(mean, 1)."""
    norm.train()
    for seed in range(batches):
        norm(seeded(size, norm.num_features, *shape, seed=1000 + seed) + mean)
    return norm


def cause(norm: nn.Module, batches: Any) -> str:
    return gap(nn.Sequential(norm), batches).layers[0].cause


def data(*, mean: float = 0.0, size: int = 64, batches: int = 8, features: int = 16) -> list[torch.Tensor]:
    return [seeded(size, features, seed=seed) + mean for seed in range(batches)]


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
def test_a_norm_that_was_averaged_over_data_like_these_has_no_cause(momentum: float | None) -> None:
    norm = nn.BatchNorm1d(16, momentum=momentum)
    trained(norm, batches=60)
    if momentum == 0.01:
        calibrate_(norm, data())
    assert cause(norm, data()) in ("none", "batch noise")


def test_calibrated_norms_have_none() -> None:
    norm = nn.BatchNorm2d(8)
    images = [3 * seeded(32, 8, 6, 6, seed=seed) + 1 for seed in range(6)]
    calibrate_(norm, images)
    found = gap(norm, images).layers[0]
    assert found.cause == "none"
    assert found.mean_gap < found.standard_error
    assert found.var_ratio == pytest.approx(1, rel=1e-5)


def test_never_updated() -> None:
    assert cause(nn.BatchNorm1d(16), data(mean=3)) == "never updated"


def test_ema_lag() -> None:
    assert cause(trained(nn.BatchNorm1d(16, momentum=0.01), batches=50, mean=3), data(mean=3)) == "ema lag"


def test_domain_shift() -> None:
    assert cause(trained(nn.BatchNorm1d(16), batches=200), data(mean=1)) == "domain shift"


def test_domains_that_come_batch_by_batch_are_a_shift_though_their_pool_was_averaged() -> None:
    sorted_domains = [*data(mean=-5), *data(mean=5)]
    norm = nn.BatchNorm1d(16)
    calibrate_(norm, sorted_domains)
    assert cause(norm, sorted_domains) == "domain shift"


def test_an_average_over_few_small_batches_is_noise() -> None:
    norm = trained(nn.BatchNorm1d(16, momentum=0.5), batches=30, size=64)
    assert cause(norm, data(batches=40)) == "batch noise"


def test_batches_of_four_rows_are_noise_even_with_exact_statistics() -> None:
    norm, small = nn.BatchNorm1d(16), data(size=4, batches=100)
    calibrate_(norm, small)
    assert cause(norm, small) == "batch noise"


def test_a_biased_running_variance_is_bessel() -> None:
    norm, batches = nn.BatchNorm1d(16), data(size=8, batches=400)
    calibrate_(norm, batches)
    norm.running_var *= 7 / 8
    assert cause(norm, batches) == "bessel"


def test_a_biased_running_variance_is_bessel_also_where_the_average_scatters() -> None:
    """Half of a momentum of 0.01 is as good as an average of 200 batches: its mean is 0.035 std off."""
    norm = trained(nn.BatchNorm1d(16, momentum=0.01), batches=1000, size=4)
    norm.running_var *= 3 / 4
    assert cause(norm, data(size=4, batches=2000)) == "bessel"


def test_a_variance_of_the_size_of_eps() -> None:
    norm, batches = nn.BatchNorm1d(16), [1e-5**0.5 * batch for batch in data()]
    calibrate_(norm, batches)
    assert cause(norm, batches) == "eps"


@pytest.mark.parametrize("where", ["data", "statistics"])
def test_non_finite(where: str) -> None:
    norm, batches = nn.BatchNorm1d(16), data()
    if where == "data":
        batches[1][0, 0] = float("inf")
    else:
        norm.running_var[3] = float("nan")
    assert cause(norm, batches) == "non-finite"


def test_a_norm_in_training_mode_inside_an_eval_model_is_in_the_wrong_mode() -> None:
    model = nn.Sequential(trained(nn.BatchNorm1d(16), batches=100), nn.BatchNorm1d(16, track_running_stats=False))
    model.eval()
    model[0].train()
    assert [layer.cause for layer in gap(model, data()).layers] == ["wrong mode", "wrong mode"]


def deep() -> tuple[nn.Sequential, list[Any]]:
    torch.manual_seed(0)
    blocks = [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()] * 1
    model = nn.Sequential(*blocks, nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    x = data(batches=4)
    calibrate_(model, x)
    return model.train(), [(part, torch.arange(64) % 3) for part in x]


def test_losses_are_those_of_the_modes_and_the_layer_that_makes_the_gap_is_shown() -> None:
    model, batches = deep()
    model[6].p = 0.0
    model[4].running_mean -= 5
    found = gap(model, batches, loss=F.cross_entropy)
    assert [layer.layer for layer in found.layers] == ["1", "4"]
    with torch.no_grad():
        for training, loss in ((True, found.loss_train), (False, found.loss_eval)):
            copied = copy.deepcopy(model).train(training)
            losses = [F.cross_entropy(copied(x), y).item() for x, y in batches]
            assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    blameless, guilty = found.layers
    assert guilty.loss_change > 10 * abs(blameless.loss_change)
    assert (blameless.cause, guilty.cause) == ("none", "domain shift")
    assert found.loss_eval - found.loss_train == pytest.approx(guilty.loss_change, rel=0.1)
    assert guilty.mean_gap == pytest.approx(float((5 / model[4].running_var.sqrt()).square().mean().sqrt()), rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_model_changes(training: bool) -> None:
    model, batches = deep()
    model.train(training)
    before = fingerprint(model)
    gap(model, batches, loss=F.cross_entropy)
    assert fingerprint(model) == before


def test_a_frozen_layer_makes_no_difference_between_the_modes() -> None:
    model, batches = deep()
    freeze_(model)
    model[4].running_mean += 5
    found = gap(model, batches, loss=F.cross_entropy)
    assert [layer.loss_change for layer in found.layers] == [0.0, 0.0]


def test_without_a_loss_there_is_none() -> None:
    model, batches = deep()
    found = gap(model, batches)
    assert (found.loss_train, found.loss_eval, found.layers[0].loss_change) == (None, None, None)


def test_a_loss_may_be_named_as_for_check() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    named, called = (gap(model, (x, torch.arange(32) % 3), loss=loss) for loss in ("cross_entropy", F.cross_entropy))
    assert named == called
    with pytest.raises(ConfigError, match="cross_entropy"):
        gap(model, (x, torch.arange(32) % 3), loss="crossentropy")


@pytest.mark.parametrize("convert", [lambda norm: ghost_(norm, size=8), lambda norm: renorm_(norm, limits=LIMITS)])
def test_the_loss_in_training_is_that_of_ghost_batches_and_of_renormalization(convert: Any) -> None:
    """Not that of a plain BatchNorm, which normalizes by the whole batch."""
    model = nn.Sequential(nn.Linear(16, 8), trained(nn.BatchNorm1d(8), batches=3), nn.ReLU(), nn.Linear(8, 1))
    convert(model)
    batches = [(x, seeded(64, 1, seed=9)) for x in data(mean=1.0)]
    before, twin = fingerprint(model), copy.deepcopy(model).train()
    counts = [copy.deepcopy(twin)(x) for x, _ in batches]  # each batch as the first one that comes
    expected = sum(F.mse_loss(output, y).item() for output, (_, y) in zip(counts, batches, strict=True)) / len(batches)
    found = gap(model, batches, loss="mse")
    assert found.loss_train == pytest.approx(expected, rel=1e-5)
    assert fingerprint(model) == before
    alone = gap(model, batches, loss="mse").layers[0].loss_change
    assert found.loss_train + alone == pytest.approx(found.loss_eval, rel=1e-5)  # there is one norm


def test_small_ghost_batches_are_batch_noise() -> None:
    norm = nn.BatchNorm1d(16)
    calibrate_(norm, data())
    assert cause(norm, data()) == "none"
    ghost_(norm, size=64)
    assert cause(norm, data()) == "none"
    norm.ghost_size = 8
    assert cause(norm, data()) == "batch noise"


def test_small_ghost_batches_change_the_loss_in_training_alone() -> None:
    plain = nn.Sequential(trained(nn.BatchNorm1d(16), batches=60), nn.Linear(16, 1))
    ghosts = copy.deepcopy(plain)
    ghost_(ghosts, size=4)
    batches = [(x, seeded(64, 1, seed=9)) for x in data()]
    losses = [gap(model, batches, loss="mse") for model in (plain, ghosts)]
    assert losses[0].loss_eval == losses[1].loss_eval
    assert losses[0].loss_train != losses[1].loss_train

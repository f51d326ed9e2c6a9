"""Traps 1, 4 and 27 of calibration and of its conventions; the page docs/batchnorm.md lists all thirty."""

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma.norm import calibrate_, gap


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0])
def test_momentum_is_the_weight_of_the_new_batch(momentum: float) -> None:
    """Trap 1: torch's 0.1 is Keras' and Flax' decay 0.9."""
    norm, x = nn.BatchNorm1d(3, momentum=momentum), seeded(32, 3) + 4
    norm(x)
    torch.testing.assert_close(norm.running_mean, momentum * x.mean(0))


@pytest.mark.parametrize("momentum", [0.0, None, 0.1, 1.0])
def test_calibration_asks_for_no_momentum_and_leaves_it(momentum: float | None) -> None:
    """Trap 1: 0 means never, None means the mean of all; whoever mixed the two up lost the statistics."""
    norm, x = nn.BatchNorm1d(3, momentum=momentum), seeded(32, 3) + 4
    for _ in range(3):
        norm(x)
    calibrate_(norm, list(x.split(10)))
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    assert norm.momentum == momentum
    before = norm.running_mean.clone()
    norm(x + 1)
    expected = {0.0: before, None: before + 0.2, 0.1: before + 0.1, 1.0: before + 1}[momentum]
    # The counter is the number of calibrated batches, 4: None goes on from there, as the fifth.
    torch.testing.assert_close(norm.running_mean, expected)


def test_a_layer_that_never_updates_is_named_by_gap() -> None:
    norm = nn.BatchNorm1d(3, momentum=0.0)
    for seed in range(20):
        norm(seeded(64, 3, seed=seed) + 4)
    assert gap(nn.Sequential(norm), [seeded(64, 3) + 4]).layers[0].cause == "never updated"


def test_a_counter_that_a_checkpoint_lost_lets_the_next_batch_replace_everything_and_calibration_does_not() -> None:
    """Trap 4: after 100 batches at mean 3, one at −3 makes the running mean −3; a calibrated counter goes on."""
    norm = nn.BatchNorm1d(1, momentum=None)
    for seed in range(100):
        norm(seeded(64, 1, seed=seed) + 3)
    state = {key: value for key, value in norm.state_dict().items() if key != "num_batches_tracked"}
    resumed = nn.BatchNorm1d(1, momentum=None)
    resumed.load_state_dict(state, strict=False)
    resumed(seeded(64, 1) - 3)
    assert resumed.running_mean.item() < -2.5
    calibrate_(norm, [seeded(64, 1, seed=seed) + 3 for seed in range(100)])
    norm(seeded(64, 1) - 3)
    assert norm.running_mean.item() == pytest.approx(3 - 6 / 101, abs=0.1)


def test_the_data_calibrate_a_model_without_its_dropout() -> None:
    """Trap 27: `model.train()` for the statistics turns dropout on, and the variance behind it is another one."""
    model, x = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)), seeded(4000, 3) + 2
    with_dropout = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.optim.swa_utils.update_bn([x], with_dropout)
    calibrate_(model, x)
    torch.testing.assert_close(model[1].running_var, x.var(0))
    # Var(x·m/p) = (σ² + μ²)/p − μ² = 2·5 − 4 = 6 where p = 1/2.
    assert with_dropout[1].running_var.min() > 5


def test_the_page_names_a_test_for_each_of_thirty_traps_and_all_exist() -> None:
    here = Path(__file__).parent
    page = (here.parents[1] / "docs" / "batchnorm.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*`(test_\w+\.py)::(test_\w+)` \|$", page, flags=re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 31))
    missing = [(file, name) for _, file, name in rows if f"def {name}(" not in (here / file).read_text("utf-8")]
    assert not missing

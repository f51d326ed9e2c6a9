"""Gloo ranks end where one process on the joined batch ends; one that fails stops all, and none hangs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import onesigma
from onesigma._errors import ConfigError
from onesigma.model.twin import plain_twin


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_equal_one_process_on_the_joined_batch(world: int, tmp_path: Path) -> None:
    """Plain, DDP, FSDP2 and DTensor; even, uneven and empty ranks; a rank that raises, and one that never comes."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.distributed.worker"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(world)
    ]
    try:
        outputs = [rank.communicate(timeout=400)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, output in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, "\n".join(outputs)
        assert "all claims hold" in output


def test_without_a_process_group_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="init_process_group first, on every rank"):
        onesigma.on_ranks(onesigma.measure, nn.Linear(2, 2), torch.ones(3, 2))
    with pytest.raises(ConfigError, match="init_process_group first, on every rank"):
        onesigma.standardize([[1.0]], engine="ranks")


def test_a_twin_has_own_tensors_and_the_same_ties_names_and_results() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model.register_buffer("steps", torch.tensor(3))
    model.first = model[0]
    twin = plain_twin(model)
    x = torch.randn(4, 3)
    assert torch.equal(twin(x), model(x))
    assert twin[2].weight is twin[0].weight is not model[0].weight
    assert twin.first is twin[0]
    assert list(twin.state_dict()) == list(model.state_dict())

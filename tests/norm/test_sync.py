"""SyncBatchNorm on two gloo ranks is BatchNorm on the joined batch, and converting keeps what a layer is."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma.norm import BatchNormLast, SyncBatchNorm, freeze_, synchronize_


def test_two_ranks_equal_one_batch(tmp_path: Path) -> None:
    """Forward, backward, running statistics; even, uneven and empty ranks; masks; calibration over ranks."""
    worker = str(Path(__file__).with_name("sync_worker.py"))
    command = [sys.executable, "-W", "ignore", worker]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "rendezvous")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        output, _ = rank.communicate(timeout=240)
        assert rank.returncode == 0, output
        assert "all claims hold" in output


class Activated(nn.BatchNorm2d):
    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.act = nn.ReLU()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(input))


class OwnWay(nn.BatchNorm2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(input, None, None, training=True)


def test_a_subclass_keeps_its_behavior_keys_and_hooks() -> None:
    model, x = nn.Sequential(Activated(3), nn.SyncBatchNorm(3)), torch.randn(4, 3, 5, 5)
    expected = copy.deepcopy(model)
    edits = synchronize_(model)
    assert all(isinstance(norm, SyncBatchNorm) for norm in model)
    assert isinstance(model[0], Activated)
    assert list(model.state_dict()) == list(expected.state_dict())
    torch.testing.assert_close(model(x), expected(x), rtol=0, atol=0)
    edits.undo()
    assert [type(norm) for norm in model] == [Activated, nn.SyncBatchNorm]


def test_a_subclass_that_normalizes_by_itself_is_refused() -> None:
    with pytest.warns(NoEffectWarning, match="computes its own normalization"):
        synchronize_(OwnWay(3))


def test_converted_models_can_be_copied_and_stored() -> None:
    model, x = nn.Sequential(BatchNormLast(3)), torch.randn(4, 5, 3)
    synchronize_(model)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(other[0], SyncBatchNorm)
        torch.testing.assert_close(other(x), copy.deepcopy(model)(x), rtol=0, atol=0)


def test_sync_and_frozen_combine() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)), torch.randn(4, 3)
    synchronize_(model)
    edits = freeze_(model)
    model.train()(x)
    assert model[0].running_mean.tolist() == [0.0, 0.0, 0.0]
    edits.undo()
    assert isinstance(model[0], SyncBatchNorm)
    model(x)
    assert any(model[0].running_mean.tolist())

"""Two processes over gloo: the statistics of all ranks' data, on each of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from onesigma.norm import calibrate_


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch was built without gloo")
def test_ranks_are_merged_by_their_values_even_where_they_drifted_apart_or_have_none(tmp_path: Path) -> None:
    worker = str(Path(__file__).with_name("calibrate_worker.py"))
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", worker, str(rank), str(tmp_path / "rendezvous")],
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


def test_what_data_parallel_replicas_lose_calibration_of_the_module_has() -> None:
    """Trap 12: updates of replicas are lost but for those of the first, which saw a half: stood in for by two norms."""
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)) + 5
    halves = x.split(32)
    first, second = (nn.Sequential(module[0], nn.BatchNorm1d(4, momentum=1.0)) for _ in range(2))
    first(halves[0]), second(halves[1])
    calibrate_(nn.DataParallel(module), list(halves))
    torch.testing.assert_close(module[1].running_mean, module[0](x).mean(0))
    assert not torch.allclose(first[1].running_mean, module[1].running_mean)

"""Pools and interpolations of maps: the std that they leave, and that of what reads them, within sampling."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma import measure, predict

BAR = 0.05
MAPS = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LINES = torch.randn(64, 64, 24, generator=torch.Generator().manual_seed(1))
VOLUMES = torch.randn(16, 3, 8, 8, 8, generator=torch.Generator().manual_seed(2))
CONVS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}


class Resampled(nn.Module):
    """A convolution, whose neighbors go together, a function of the map, and two layers behind it."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], *, like: torch.Tensor) -> None:
        super().__init__()
        conv = CONVS[like.dim()]
        self.function = function
        self.first, self.last = conv(like.shape[1], 256, 3, padding=1), conv(256, 256, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(F.relu(self.function(F.relu(self.first(x)))))
        return made.flatten(2).mean(-1)


CASES = {
    "bilinear, finer": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), MAPS),
    "bilinear, corners aligned": (lambda x: F.interpolate(x, size=(25, 21), mode="bilinear", align_corners=True), MAPS),
    "bilinear, coarser": (lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear"), MAPS),
    "bilinear, coarser, smoothed": (lambda x: F.interpolate(x, size=5, mode="bilinear", antialias=True), MAPS),
    "bicubic": (lambda x: F.interpolate(x, size=(24, 9), mode="bicubic"), MAPS),
    "nearest": (lambda x: F.interpolate(x, size=(24, 9)), MAPS),
    "area": (lambda x: F.interpolate(x, size=(5, 7), mode="area"), MAPS),
    "linear": (lambda x: F.interpolate(x, size=60, mode="linear"), LINES),
    "trilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), VOLUMES),
    "bins that overlap": (lambda x: F.adaptive_avg_pool2d(F.avg_pool2d(x, 8), 3), MAPS),
    "bins of unequal size": (lambda x: F.adaptive_avg_pool2d(x, (5, 7)), MAPS),
    "windows that overlap": (lambda x: F.avg_pool2d(x, 3, 1, 1), MAPS),
    "windows without their padding": (lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), MAPS),
    "windows cut short": (lambda x: F.avg_pool2d(x, 5, 3, ceil_mode=True), MAPS),
    "windows of sums": (lambda x: F.avg_pool2d(x, 3, divisor_override=1), MAPS),
    "windows of a line": (lambda x: F.avg_pool1d(x, 4, 2, 1), LINES),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_resampled_is_within_five_percent(name: str) -> None:
    function, batch = CASES[name]
    torch.manual_seed(3)
    model = Resampled(function, like=batch)
    seen = {record.index: record.output for record in measure(model, batch).records}
    errors = {}
    for record in predict(model, batch).records:
        measured = seen[record.index]
        assert record.std is not None, record.unknown
        assert measured is not None
        errors[f"{record.index} {record.op}"] = abs(record.std / measured.std - 1)
    assert {name: error for name, error in errors.items() if error > BAR} == {}

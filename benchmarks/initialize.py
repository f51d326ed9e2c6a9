"""`initialize_` against plain forward passes of the same model: one data pass must not cost more than two."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from onesigma.init.initialize import initialize_

__all__ = ["main"]

MOST_FORWARD_PASSES = 2.0


class DenseNet(nn.Module):
    """The layer plan of DenseNet-121 (120 convolutions and a head) without its norms."""

    def __init__(self, growth: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * growth, 7, stride=2, padding=3)
        self.blocks, self.transitions, channels = nn.ModuleList(), nn.ModuleList(), 2 * growth
        for layers in (6, 12, 24, 16):
            pairs = [
                nn.ModuleList([nn.Conv2d(inputs, 4 * growth, 1), nn.Conv2d(4 * growth, growth, 3, padding=1)])
                for inputs in range(channels, channels + layers * growth, growth)
            ]
            self.blocks.append(nn.ModuleList(pairs))
            channels += layers * growth
            if layers != 16:
                self.transitions.append(nn.Conv2d(channels, channels // 2, 1))
                channels //= 2
        self.head = nn.Linear(channels, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)
        for i, block in enumerate(self.blocks):
            for squeeze, conv in block:
                x = torch.cat([x, conv(F.relu(squeeze(F.relu(x))))], 1)
            if i < len(self.transitions):
                x = F.avg_pool2d(self.transitions[i](F.relu(x)), 2)
        return self.head(F.relu(x).mean((2, 3)))


def main() -> None:
    """Print medians and the ratio, and hold it to its bar."""
    model, x = DenseNet(), torch.randn(8, 3, 224, 224)
    with torch.no_grad():
        forward = _median(lambda: model(x))
    edits = initialize_(model, x)
    initialize = _median(lambda: initialize_(model, x))
    stds = [edit.after for edit in edits.applied if edit.after is not None]
    print(f"DenseNet-121 plan, {len(stds)} layers, batch 8 × 3 × 224²")
    print(f"  forward pass    {forward * 1e3:8.1f} ms")
    ratio = initialize / forward
    print(f"  initialize_     {initialize * 1e3:8.1f} ms   {ratio:.2f} × (at most {MOST_FORWARD_PASSES})")
    print(f"  pre-activation std after: {min(stds):.6f} to {max(stds):.6f}")
    assert ratio <= MOST_FORWARD_PASSES
    assert max(abs(std - 1) for std in stds) <= 1e-3


def _median(action: Callable[[], object], *, times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)

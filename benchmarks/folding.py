"""Inference with norms and without: a bottleneck stage of ResNet-50's shapes, and an MLP with norms.

CPU time of one thread, in turn; reported, held to no bar but that folding does not slow down.
"""

import copy
import statistics
import time
import warnings

import torch
from torch import Tensor, nn

from onesigma.norm import fold_

__all__ = ["main"]

MOST_RATIO = 1.1  # noise of a busy machine; what is expected lies below one
REPEATS = 15


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with norms and a residual path, as in ResNet-50."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, first: int = 0) -> None:
        super().__init__()
        inputs = first or channels
        self.body = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )
        skip = (nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.skip = nn.Sequential(*skip) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.body(x) + self.skip(x))


def resnet50() -> nn.Module:
    """Stem, 3 + 4 + 6 + 3 bottlenecks, head."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        layers.append(Bottleneck(4 * width, width, stride=stride, first=inputs))
        layers += [Bottleneck(4 * width, width) for _ in range(depth - 1)]
        inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def mlp() -> nn.Module:
    """Eight layers of 256, each with a norm before its ReLU."""
    blocks = ([nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU()] for _ in range(8))
    return nn.Sequential(*(layer for block in blocks for layer in block), nn.Linear(256, 10))


def main() -> None:
    """Print milliseconds and ratios, and hold them to their bar."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratios = []
    for name, model, x in (
        ("ResNet-50, 1 × 3 × 224 × 224", resnet50(), torch.randn(1, 3, 224, 224)),
        ("MLP with norms, batch of 1", mlp(), torch.randn(1, 256)),
        ("MLP with norms, batch of 256", mlp(), torch.randn(256, 256)),
    ):
        model.eval()
        folded = copy.deepcopy(model)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            start = time.process_time()
            edits = fold_(folded, x)
            took = time.process_time() - start
        assert not edits.refused, edits.refused
        before, after = _medians(model, folded, x)
        ratios.append(after / before)
        print(
            f"{name:<30} {len(edits.applied):2} norms  {before * 1e3:8.2f} → {after * 1e3:8.2f} ms  "
            f"{after / before:.2f}   fold_ with its proof {took:.1f} s   output moves {edits[0].error:.0e}"
        )
    assert max(ratios) <= MOST_RATIO, f"{max(ratios):.2f} of the time is more than {MOST_RATIO}"


@torch.no_grad()
def _medians(model: nn.Module, folded: nn.Module, x: Tensor) -> list[float]:
    """Median seconds of each, taken in turn so that a busy moment meets both."""
    # Enough calls at a time that the clock's ticks are small beside them.
    start = time.process_time()
    model(x)
    calls = max(1, round(0.02 / max(time.process_time() - start, 1e-5)))
    seconds: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for each, times in zip((model, folded), seconds, strict=True):
            start = time.process_time()
            for _ in range(calls):
                each(x)
            times.append((time.process_time() - start) / calls)
    return [statistics.median(times) for times in seconds]


if __name__ == "__main__":
    main()

"""`calibrate_` against a plain forward pass over the same batches, in eval and in training mode, fvcore beside it."""

import time
from collections.abc import Callable

import torch
from torch import nn

from onesigma.norm import calibrate_

try:
    from fvcore.nn.precise_bn import update_bn_stats
except ImportError:  # it is in the test extra
    update_bn_stats = None

__all__ = ["main"]

BAR = 1.2
ROUNDS, BATCHES = 5, 16


class Block(nn.Module):
    """Two 3×3 convolutions and their norms around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        return torch.relu(x + self.body(x))


def convolutions() -> tuple[nn.Module, list[torch.Tensor]]:
    """A ResNet for 32×32 images, widths 64 to 256."""
    parts: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), Block(64)]
    for width in (128, 256):
        parts += [nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        parts += [Block(width)]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))
    return model, [torch.randn(16, 3, 32, 32) for _ in range(BATCHES)]


def layers() -> tuple[nn.Module, list[torch.Tensor]]:
    """An MLP of width 1024 with six norms."""
    widths = [256] + [1024] * 6
    parts = [
        part
        for i in range(6)
        for part in (nn.Linear(widths[i], widths[i + 1], bias=False), nn.BatchNorm1d(1024), nn.ReLU())
    ]
    return nn.Sequential(*parts, nn.Linear(1024, 10)), [torch.randn(256, 256) for _ in range(BATCHES)]


def main() -> None:
    """Print CPU times over that of a plain forward pass in eval mode, and hold `calibrate_` to its bar."""
    torch.set_num_threads(1)
    worst = 0.0
    for make in (convolutions, layers):
        torch.manual_seed(0)
        model, batches = make()
        jobs = _jobs(model.train(), batches)
        times = _interleaved(jobs)
        ratios = {name: _median([a / b for a, b in zip(times[name], times["forward"], strict=True)]) for name in jobs}
        print(f"{make.__name__}: forward in eval {_median(times['forward']):.3f} s")
        print("  " + ", ".join(f"{name} {ratio:.2f}×" for name, ratio in ratios.items() if name != "forward"))
        worst = max(worst, ratios["calibrate_"])
    assert worst <= BAR, f"calibrate_ costs {worst:.2f} forward passes, the bar is {BAR}"


def _jobs(model: nn.Module, batches: list[torch.Tensor]) -> dict[str, Callable[[], object]]:
    def forward(*, training: bool) -> None:
        model.train(training)
        with torch.no_grad():
            for batch in batches:
                model(batch)
        model.train()

    jobs: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(training=False),
        "forward in training": lambda: forward(training=True),
        "calibrate_": lambda: calibrate_(model, batches),
    }
    if update_bn_stats is not None:
        jobs["fvcore update_bn_stats"] = lambda: update_bn_stats(model, batches, len(batches))
    return jobs


def _interleaved(jobs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU seconds per round: jobs take turns, so that a slow moment of the machine meets all of them."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for round_number in range(ROUNDS + 1):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            if round_number:  # the first one compiles
                times[name].append(time.process_time() - start)
    return times


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()

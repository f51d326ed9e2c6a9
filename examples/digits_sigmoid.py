"""The first experiment of Ioffe & Szegedy 2015 (section 4.1), on 8×8 digits: three sigmoid layers, with and without BN.

`python examples/digits_sigmoid.py` trains both, prints test accuracy and how far the inputs of a last hidden unit
wander, and draws docs/digits_sigmoid.svg: the 15th, 50th and 85th percentiles of that input while training goes on.
"""

import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from _chart import Panel, write_chart
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from onesigma.norm import insert_

__all__ = ["main", "run"]

WIDTH, BATCH, STEPS, RATE, EVERY = 100, 60, 5000, 0.5, 50
PERCENTILES = (0.15, 0.5, 0.85)


def run(*, norm: bool, steps: int = STEPS) -> tuple[list[float], list[list[float]]]:
    """Test accuracy, and the percentiles of the first unit's input in the last hidden layer, every 50 steps."""
    bunch = load_digits()
    inputs, labels = torch.tensor(bunch.data / 16, dtype=torch.float32), torch.tensor(bunch.target)
    train, test = train_test_split(torch.arange(len(labels)), test_size=0.25, random_state=0)
    model = network(seed=0)
    if norm:
        insert_(model, inputs[train][:BATCH])
    last = next(i for i, part in reversed(list(enumerate(model))) if isinstance(part, nn.Sigmoid))
    optimizer, generator = torch.optim.SGD(model.parameters(), lr=RATE), torch.Generator().manual_seed(0)
    accuracies, percentiles = [], []
    for step in range(steps):
        rows = train[torch.randint(0, len(train), (BATCH,), generator=generator)]
        optimizer.zero_grad()
        F.cross_entropy(model.train()(inputs[rows]), labels[rows]).backward()
        optimizer.step()
        if step % EVERY == EVERY - 1:
            accuracies.append(accuracy(model, inputs[test], labels[test]))
            with torch.no_grad():
                signal = model.eval()[:last](inputs[test])[:, 0]
            percentiles.append(signal.quantile(torch.tensor(PERCENTILES)).tolist())
    return accuracies, percentiles


def network(*, seed: int) -> nn.Sequential:
    """Three layers of 100 sigmoids, small Gaussian weights, as in the paper."""
    generator = torch.Generator().manual_seed(seed)
    widths = [64, WIDTH, WIDTH, WIDTH]
    parts = [part for i in range(3) for part in (nn.Linear(widths[i], widths[i + 1]), nn.Sigmoid())]
    model = nn.Sequential(*parts, nn.Linear(WIDTH, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of right answers in eval mode."""
    with torch.no_grad():
        return float((model.eval()(inputs).argmax(1) == labels).float().mean())


def wandering(percentiles: Sequence[Sequence[float]]) -> float:
    """How far the median moves while training goes on, over the mean distance of the outer percentiles."""
    low, middle, high = zip(*percentiles, strict=True)
    width = sum(b - a for a, b in zip(low, high, strict=True)) / len(low)
    return (max(middle) - min(middle)) / width


def main() -> None:
    """Train both, print and draw."""
    torch.set_num_threads(1)
    found = {"without": run(norm=False), "with BatchNorm": run(norm=True)}
    for name, (accuracies, percentiles) in found.items():
        first = next((EVERY * (i + 1) for i, value in enumerate(accuracies) if value >= 0.9), None)
        sys.stdout.write(
            f"{name}: test accuracy {accuracies[-1]:.3f}, 90 % after {first} steps; "
            f"the median wanders {wandering(percentiles):.2f} of the spread\n"
        )
    steps = [EVERY * (i + 1) for i in range(STEPS // EVERY)]
    lines = {name: accuracies for name, (accuracies, _) in found.items()}
    panels = [Panel(title="test accuracy", x=steps, x_label="step", lines=lines, bands={}, low=0, high=1)]
    for name, (_, percentiles) in found.items():
        low, middle, high = (list(column) for column in zip(*percentiles, strict=True))
        title = f"input of a sigmoid, {name}"
        panels.append(
            Panel(
                title=title,
                x=steps,
                x_label="step; band: percentiles 15 to 85",
                lines={"median": middle},
                bands={"median": (low, high)},
                low=min(-4.0, *low),
                high=max(4.0, *high),
            )
        )
    says = (
        "Left: accuracy rises at once with BatchNorm, late without. Right: percentiles of an input wander without it."
    )
    write_chart("digits_sigmoid.svg", panels, says=says)


if __name__ == "__main__":
    main()

"""Plain stacks on digits, no norms and no skips: how many of 27 learn, from `deep` and from what else there is."""

import sys
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from benchmarks._starts import kaiming, lsuv, orthogonal
from onesigma.init.initialize import initialize_

__all__ = ["main"]

ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.SELU, nn.Sigmoid, nn.Mish, nn.Softplus, nn.ELU)
DEPTHS = (20, 50, 100)
LEARNED, BAR = 0.5, 27
WIDTH, STEPS, BATCH, RATE = 128, 150, 64, 3e-4


def main(*, depths: Sequence[int] = DEPTHS, activations: Sequence[type[nn.Module]] = ACTIVATIONS) -> None:
    """Print the last losses (mean of ten steps) side by side, and hold `deep` to its bar.

    `python -m benchmarks.depth 200` has rows of that depth instead.
    """
    torch.set_num_threads(1)
    x, y = _digits()
    starts: dict[str, Callable[[nn.Module], object]] = {
        "torch": lambda model: None,
        "kaiming": kaiming,
        "orthogonal": lambda model: orthogonal(model, _shaped(model, x[:512])),
        "lsuv": lambda model: lsuv(model, _shaped(model, x[:512])),
        "deep": lambda model: initialize_(model, _shaped(model, x[:512]), scheme="deep"),
    }
    learned = dict.fromkeys(starts, 0)
    print(f"{'':16}" + "".join(f"{name:>12}" for name in starts))
    for activation in activations:
        for depth in depths:
            losses = {name: _last_loss(_mlp(activation, depth), start, x, y) for name, start in starts.items()}
            print(
                f"{activation.__name__:10}{depth:6}" + "".join(f"{loss:12.3f}" for loss in losses.values()), flush=True
            )
            for name, loss in losses.items():
                learned[name] += loss < LEARNED
    count = len(activations) * len(depths)
    print(", ".join(f"{name}: {number} of {count} below {LEARNED}" for name, number in learned.items()))
    losses = {name: _last_loss(_convnet(nn.ReLU), start, x, y) for name, start in starts.items()}
    print(f"{'50 convs, ReLU':16}" + "".join(f"{loss:12.3f}" for loss in losses.values()))
    assert learned["deep"] == count
    assert losses["deep"] < LEARNED


def _mlp(activation: type[nn.Module], depth: int) -> nn.Module:
    torch.manual_seed(0)
    widths = [64] + [WIDTH] * depth
    hidden = [part for i in range(depth) for part in (nn.Linear(widths[i], widths[i + 1]), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, 10))


def _convnet(activation: type[nn.Module], *, depth: int = 50, channels: int = 16) -> nn.Module:
    torch.manual_seed(0)
    widths = [1] + [channels] * depth
    hidden = [part for i in range(depth) for part in (nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), activation())]
    return nn.Sequential(*hidden, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10))


def _shaped(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Rows for a stack of linears, images for convolutions."""
    return x.view(-1, 1, 8, 8) if isinstance(next(model.children()), nn.Conv2d) else x


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(bunch.target)


def _last_loss(model: nn.Module, start: Callable[[nn.Module], object], x: torch.Tensor, y: torch.Tensor) -> float:
    start(model)
    x = _shaped(model, x)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    losses = []
    for _ in range(STEPS):
        rows = torch.randint(0, len(x), (BATCH,))
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-10:]) / 10


if __name__ == "__main__":
    main(depths=tuple(map(int, sys.argv[1:])) or DEPTHS)

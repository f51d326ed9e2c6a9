"""Plain stacks on digits, no norms and no skips: how many of 27 learn, from torch's defaults and from `deep`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from onesigma.init.initialize import initialize_

__all__ = ["main"]

ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.SELU, nn.Sigmoid, nn.Mish, nn.Softplus, nn.ELU)
DEPTHS = (20, 50, 100)
LEARNED, BAR = 0.5, 27
WIDTH, STEPS, BATCH, RATE = 128, 150, 64, 3e-4


def main() -> None:
    """Print the last losses (mean of ten steps) side by side, and hold `deep` to its bar."""
    torch.set_num_threads(1)
    x, y = _digits()
    starts: dict[str, Callable[[nn.Module], object]] = {
        "torch": lambda model: None,
        "deep": lambda model: initialize_(model, x[:512], scheme="deep"),
    }
    learned = dict.fromkeys(starts, 0)
    print(f"{'':12}" + "".join(f"{f'{name} {depth}':>12}" for name in starts for depth in DEPTHS))
    for activation in ACTIVATIONS:
        losses = {
            name: [_last_loss(activation, depth, start, x, y) for depth in DEPTHS] for name, start in starts.items()
        }
        print(f"{activation.__name__:12}" + "".join(f"{loss:12.3f}" for row in losses.values() for loss in row))
        for name, row in losses.items():
            learned[name] += sum(loss < LEARNED for loss in row)
    print(", ".join(f"{name}: {count} of {BAR} below {LEARNED}" for name, count in learned.items()))
    assert learned["deep"] == BAR


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(bunch.target)


def _last_loss(
    activation: type[nn.Module],
    depth: int,
    start: Callable[[nn.Module], object],
    x: torch.Tensor,
    y: torch.Tensor,
) -> float:
    torch.manual_seed(0)
    widths = [x.shape[1]] + [WIDTH] * depth
    hidden = [part for i in range(depth) for part in (nn.Linear(widths[i], widths[i + 1]), activation())]
    model = nn.Sequential(*hidden, nn.Linear(WIDTH, 10))
    start(model)
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

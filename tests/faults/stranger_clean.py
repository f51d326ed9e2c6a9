"""Healthy networks of the families in `stranger_models.py`."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from .registry import Case, ce
from .stranger_models import (
    Made,
    UNet,
    Vision,
    Writer,
    mlp,
    pictures,
    recurrent,
    routed,
    series,
    temporal,
    vectors,
    words,
)

__all__ = ["stranger_healthy"]


def rivals(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Neighbors are pairs, all others their rivals."""
    one, other = F.normalize(output[::2], dim=1), F.normalize(output[1::2], dim=1)
    return F.cross_entropy(one @ other.T / 0.5, torch.arange(len(one)))


def soft(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, _ = vectors(seed)
    return x, 0.9 * (x[:, :6] > 0).float() + 0.05


def counts(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, _ = vectors(seed)
    return x, torch.tanh(x[:, :1]).exp().round()


def towers() -> nn.Module:
    one, other = mlp(8, 32, 16), mlp(12, 32, 16)
    return Made(lambda self, x: (self.one(x[:, :8]) * self.other(x[:, 8:])).sum(1, True), one=one, other=other)


def stranger_healthy(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and builder of each."""
    for depth in (3, 8):
        yield (
            f"a vision transformer with a class token, {depth} blocks",
            lambda d=depth: (  # type: ignore[misc]
                (Vision(depth=d), pictures(seed), ce)
            ),
        )
    yield "a small GPT at N(0, 0.02)", lambda: (Writer(depth=6), words(seed), ce)
    yield "a soft router over four experts", lambda: (routed(), vectors(seed), ce)
    for cell in (nn.RNN, nn.GRU, nn.LSTM):
        yield f"a plain {cell.__name__}", lambda c=cell: (recurrent(c), series(seed), ce)  # type: ignore[misc]
    yield "convolutions along time with norms", lambda: (temporal(), series(seed), ce)
    yield "a U-Net with norms", lambda: (UNet(), (pictures(seed)[0], (pictures(seed)[0][:, :1] > 0).float()), _bce)
    yield "a contrastive loss in the batch", lambda: (mlp(20, 64, 32), vectors(seed), rivals)
    yield "smoothed labels under logits", lambda: (mlp(20, 64, 6), soft(seed), _bce)
    yield "counts under Poisson's likelihood", lambda: (mlp(20, 32, 1), counts(seed), nn.PoissonNLLLoss())
    half = nn.Linear(20, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 4)
    yield "a dropout of a half", lambda: (nn.Sequential(*half), vectors(seed), ce)
    yield "two towers and their product", lambda: (towers(), (vectors(seed)[0], counts(seed)[1]), "mse")


_bce = F.binary_cross_entropy_with_logits

"""Sums and products of functions of the same values: counted, or unknown; never taken for those of strangers."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma import measure, predict

BAR = 0.05
ROWS = torch.randn(512, 256, generator=torch.Generator().manual_seed(0))


class Pair(nn.Module):
    """A function of two layers' results, and a layer behind it."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.second, self.last = (nn.Linear(256, 256) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.function(self.first(x), self.second(x)))
        return made


REFUSED = {
    "a product with one of its factors": lambda a, b: a * b * a,
    "what is left of the larger": lambda a, b: torch.maximum(a, b) - a,
    "a stream behind its own activation": lambda a, b: F.relu(a + b) + a,
    "a stream times a part of it": lambda a, b: (a + b) * a,
}


def again(x: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A function of a value that is computed once."""
    return function(x)


KNOWN = {
    "a product twice": lambda a, b: again(a * b, lambda x: x + (x + b)),
    "a product and a factor": lambda a, b: a * (1 + b) + a,
    "a gate and its complement": lambda a, b: torch.sigmoid(b) * F.relu(a) + (1 - torch.sigmoid(b)) * a.flip(-1),
    "a gate of itself": lambda a, b: again(a + b, lambda x: x * torch.sigmoid(x)),
    "a gated residual": lambda a, b: a + a * torch.sigmoid(b),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_hangs_together_element_by_element_is_unknown(name: str) -> None:
    torch.manual_seed(1)
    assert "functions of the same values" in predict(Pair(REFUSED[name]), ROWS).records[-1].unknown


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_counted_is_within_five_percent(name: str) -> None:
    torch.manual_seed(1)
    model = Pair(KNOWN[name])
    seen = measure(model, ROWS).records[-1].output
    (*_, last) = predict(model, ROWS).records
    assert last.std is not None, last.unknown
    assert seen is not None
    assert abs(last.std / seen.std - 1) < BAR


class Quantized(nn.Module):
    """The row of a codebook that is nearest, as of a VQ-VAE."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.codes, self.last = nn.Linear(256, 256), nn.Embedding(64, 256), nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.first(x)
        nearest = (self.codes.weight.square().sum(1) - 2 * made @ self.codes.weight.t()).argmin(-1)
        rows: torch.Tensor = self.codes(nearest)
        return self.last(rows)


def test_rows_that_are_picked_by_what_they_hold_are_unknown() -> None:
    torch.manual_seed(2)
    assert "picked by what was read from it before" in predict(Quantized(), ROWS).records[-1].unknown


def test_rows_divided_by_their_norm_by_hand_are_within_five_percent() -> None:
    torch.manual_seed(3)
    model = Pair(lambda a, b: 16 * a / (a.norm(dim=-1, keepdim=True) + 1e-6) + b)
    seen = measure(model, ROWS).records[-1].output
    (*_, last) = predict(model, ROWS).records
    assert last.std is not None, last.unknown
    assert seen is not None
    assert abs(last.std / seen.std - 1) < BAR

"""Maxima, spreads, cells, bags and products over positions: within 5 % of what is measured, or unknown."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma import measure, predict

BAR = 0.05
ROWS = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(32, 24, 64, generator=torch.Generator().manual_seed(1))
WORDS = torch.randint(0, 500, (64, 24), generator=torch.Generator().manual_seed(2))


class Between(nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], *, left: int) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(64, 256), nn.Linear(left, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.function(self.first(x)))
        return made


NEIGHBORS = torch.softmax(3 * torch.randn(24, 24, generator=torch.Generator().manual_seed(3)), -1)

CASES = {
    "maxout": (lambda x: x.view(-1, 64, 4).amax(-1), 64, ROWS),
    "max of pairs": (lambda x: x.view(-1, 2, 128).max(1).values, 128, ROWS),
    "larger of two": (lambda x: torch.maximum(x[:, :128], x[:, 128:]), 128, ROWS),
    "smaller of itself and its square": (lambda x: torch.minimum(x, x.square()), 256, ROWS),
    "largest over tokens": (lambda x: F.gelu(x).amax(1), 256, TOKENS),
    "spread over tokens": (lambda x: x.std(1), 256, TOKENS),
    "logsumexp over tokens": (lambda x: x.logsumexp(1), 256, TOKENS),
    "sum so far": (lambda x: x.cumsum(1), 256, TOKENS),
    "neighbors averaged twice": (lambda x: NEIGHBORS @ (NEIGHBORS @ x), 256, TOKENS),
}


def worst(model: nn.Module, batch: torch.Tensor) -> float:
    """Largest relative error of the std over the weighted layers, none of which is unknown."""
    seen = {record.index: record.output for record in measure(model, batch).records}
    errors = []
    for record in predict(model, batch).of_kind("linear", "recurrent", "embedding"):
        measured = seen[record.index]
        assert record.unknown == ""
        assert record.std is not None
        assert measured is not None
        errors.append(abs(record.std / measured.std - 1))
    return max(errors)


@pytest.mark.parametrize("name", CASES)
def test_what_follows_a_reduction_is_within_five_percent(name: str) -> None:
    torch.manual_seed(2)
    function, left, batch = CASES[name]
    assert worst(Between(function, left=left), batch) < BAR


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.LSTMCell(64, 256), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], 256), torch.zeros(x.shape[0], 256)
        for time in range(8):
            state = self.cell(x[:, time], state)
        made: torch.Tensor = self.last(state[0])
        return made


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.last = nn.Bilinear(32, 32, 256), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.pair(x[:, :32], x[:, 32:]))
        return made


@pytest.mark.parametrize(
    ("make", "batch"),
    [
        (Cell, TOKENS),
        (Pair, ROWS),
        (lambda: nn.Sequential(nn.EmbeddingBag(500, 256), nn.Linear(256, 256)), WORDS),
        (lambda: nn.Sequential(nn.EmbeddingBag(500, 256, mode="sum"), nn.Linear(256, 256)), WORDS),
    ],
    ids=["cell", "bilinear", "bag", "bag of sums"],
)
def test_layers_of_other_kinds_are_within_five_percent(make: Callable[[], nn.Module], batch: torch.Tensor) -> None:
    torch.manual_seed(4)
    assert worst(make(), batch) < BAR


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x @ x.transpose(1, 2) @ x, "a product of a signal with itself"),
        (lambda x: x @ (F.elu(x).transpose(1, 2) @ x), "weights do not sum to 1"),
        (lambda x: F.cosine_similarity(x, x.flip(1), dim=-1).unsqueeze(-1) * x, "no rule for 'cosine_similarity'"),
    ],
)
def test_what_hangs_together_otherwise_is_unknown(function: Callable[..., torch.Tensor], reason: str) -> None:
    last = predict(Between(function, left=256), TOKENS).records[-1]
    assert reason in last.unknown

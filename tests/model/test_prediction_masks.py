"""Masks that depend on the data, noise that the model draws itself: neither is read from the pass that is run."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma import measure, predict

ROWS = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
BAR = 0.05


class Between(nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(64, 256), nn.Linear(256, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.last(self.function(self.first(x)))
        return made


def path_dropped(x: torch.Tensor) -> torch.Tensor:
    """Stochastic depth, as models write it out."""
    keep = 0.7
    return x.div(keep) * (keep + torch.rand(x.shape[0], 1)).floor()


CASES = {
    "x · (x > 0)": lambda x: x * (x > 0),
    "a leaky ReLU by where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "negative values filled": lambda x: x.masked_fill(x < 0, 0.0),
    "not above": lambda x: x * (~(x > 0.1)),
    "noise added": lambda x: x + torch.randn_like(x),
    "reparametrized": lambda x: x + torch.exp(0.5 * x) * torch.randn_like(x),
    "noise of a uniform law": lambda x: x * torch.rand_like(x),
    "bernoulli_": lambda x: x * x.new_empty(x.shape).bernoulli_(0.3),
    "bernoulli of one probability": lambda x: x * torch.bernoulli(torch.full_like(x, 0.3)),
    "stochastic depth": path_dropped,
}


@pytest.mark.parametrize("name", CASES)
def test_the_law_counts_and_not_what_came_out(name: str) -> None:
    torch.manual_seed(3)
    model = Between(CASES[name])
    seen = {record.index: record.output for record in measure(model, ROWS).records if record.kind == "linear"}
    predicted = predict(model, ROWS)
    assert [record.unknown for record in predicted.records if record.unknown] == []
    for record in predicted.of_kind("linear"):
        measured = seen[record.index]
        assert measured is not None
        assert record.std == pytest.approx(measured.std, rel=BAR)


def test_noise_of_another_law_is_unknown() -> None:
    last = predict(Between(lambda x: x + torch.empty_like(x).exponential_()), ROWS).records[-1]
    assert "random numbers of a law that is not followed" in last.unknown


def test_choosing_by_the_largest_of_many_is_a_mixture_or_unknown_but_never_that_of_the_few_samples_run() -> None:
    class Switch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.expert = nn.Linear(64, 2), nn.Linear(64, 256)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            share, place = F.softmax(self.router(x), -1).max(-1)
            return torch.where((place == 0).unsqueeze(-1), self.expert(x) * share.unsqueeze(-1), torch.zeros(()))

    for seed in range(3):
        torch.manual_seed(seed)
        model = Switch()
        record = predict(model, ROWS).records[-1]
        with torch.no_grad():
            measured = float(model(ROWS).std(correction=0))
        assert record.op == "where"
        # 64 draws of two samples tell how often an expert is chosen to √(p(1 − p)/128), about 4 %.
        assert record.std == pytest.approx(measured, rel=3 * 0.044 / 2 + BAR)


def test_a_model_on_the_meta_device_is_unknown_with_what_to_do() -> None:
    with torch.device("meta"):
        model = Between(F.relu)
    for batch in (ROWS, ROWS.to("meta")):
        first, *_ = predict(model, batch, gradients=True).records
        assert "meta device" in first.unknown
        assert "to_empty" in first.unknown

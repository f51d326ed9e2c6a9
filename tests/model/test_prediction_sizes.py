"""Samples that are larger than others: what amplifies that is followed as far as it can be, and unknown from there."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma import predict

WIDTH, DEPTH = 256, 6
# Tails decide: of the variance of a few hundred samples not even the measured value would be worth anything.
SAMPLES = 20_000
BAR = 0.05


class Stack(nn.Module):
    """Layers without norms between them, so that nothing makes samples equally large again."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], *, width: int) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(nn.Linear(WIDTH, width, bias=False) for _ in range(DEPTH))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=1.3 * WIDTH**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = self.function(layer(x))
        return self.layers[-1](x)

    def stds(self, x: torch.Tensor) -> list[float]:
        """Of each layer's output, on all rows."""
        found = []
        for layer in self.layers:
            made = layer(x)
            found.append(float(made.std()))
            x = self.function(made)
        return found


def gated(x: torch.Tensor) -> torch.Tensor:
    value, gate = x.chunk(2, -1)
    return value * F.silu(gate)


FUNCTIONS = {
    "packed SwiGLU": (gated, 2 * WIDTH),
    "squared relu": (lambda x: F.relu(x) ** 2, WIDTH),
    "x·|x|": (lambda x: x * x.abs(), WIDTH),
    "cube": (lambda x: x**3, WIDTH),
}


def compared(name: str, *, seed: int) -> list[float | None]:
    """Relative error of every layer's predicted std; None where it is unknown."""
    torch.manual_seed(seed)
    function, width = FUNCTIONS[name]
    model, x = Stack(function, width=width), torch.randn(SAMPLES, WIDTH)
    with torch.no_grad():
        measured = model.stds(x)
    predicted = predict(model, x[:WIDTH]).of_kind("linear")
    return [None if p.std is None else p.std / m - 1 for p, m in zip(predicted, measured, strict=True)]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_stack_that_amplifies_sizes_is_right_or_unknown_at_every_depth(name: str, seed: int) -> None:
    errors = compared(name, seed=seed)
    known = [error for error in errors if error is not None]
    assert len(known) >= 2
    assert max(map(abs, known)) < BAR
    assert errors[-1] is None


def test_a_relu_stack_keeps_sizes_apart_as_they_are_and_stays_known() -> None:
    torch.manual_seed(0)
    model = Stack(F.relu, width=WIDTH)
    assert all(record.std is not None for record in predict(model, torch.randn(WIDTH, WIDTH)).of_kind("linear"))


def test_features_cut_out_of_a_sample_are_as_uneven_as_the_sample() -> None:
    torch.manual_seed(0)
    rows = torch.randn(SAMPLES, WIDTH) * (1 + 0.6 * torch.randn(SAMPLES, 1)).abs()
    model = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH, bias=False), nn.GLU(), nn.Linear(WIDTH, WIDTH, bias=False))
    with torch.no_grad():
        measured = float(model(rows).std())
    (_, last) = predict(model, rows[:4096]).of_kind("linear")
    assert last.std is not None
    assert abs(last.std / measured - 1) < BAR

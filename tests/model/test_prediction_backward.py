"""Predicted gradients beside measured ones: a profile relative to the gradient at the output."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma import measure, predict

_spec = importlib.util.spec_from_file_location("families", Path(__file__).with_name("families.py"))
assert _spec is not None
assert _spec.loader is not None
families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)

# Looser than forward: gradients of different elements are taken as independent.
BAR = 0.1


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def mlp(activation: type[nn.Module]) -> nn.Sequential:
    hidden = [layer for _ in range(5) for layer in (activation(), nn.Linear(256, 256))]
    return nn.Sequential(nn.Linear(64, 256), *hidden)


IDS = torch.randint(0, 1000, (16, 64), generator=seeded())
IMAGES = torch.randn(16, 3, 64, 64, generator=seeded())
ROWS = torch.randn(256, 64, generator=seeded())

CASES = {
    "relu": lambda: (mlp(nn.ReLU), ROWS),
    "tanh": lambda: (mlp(nn.Tanh), ROWS),
    "gelu": lambda: (mlp(nn.GELU), ROWS),
    "resnet": lambda: (families.resnet(norm=True), IMAGES),
    "resnet without norms": lambda: (families.resnet(norm=False), IMAGES),
    "gpt": lambda: (families.Gpt(), IDS),
    "llama": lambda: (families.Llama(), IDS),
}


def unit_gradient(output: torch.Tensor, targets: object) -> torch.Tensor:
    """A loss whose gradient at the output is standard normal."""
    return (output * torch.randn(output.shape, generator=seeded())).sum()


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_at_every_layer_and_join_is_within_ten_percent(name: str) -> None:
    torch.manual_seed(7)
    model, batch = CASES[name]()
    trace = measure(model, (batch, torch.zeros(len(batch))), loss=unit_gradient)
    measured = {(record.layer, record.op, record.call): record.gradient for record in trace.records}
    errors = {}
    for record in predict(model, batch, gradients=True).of_kind("linear", "join"):
        seen = measured[record.layer, record.op, record.call]
        assert record.gradient_unknown == ""
        assert seen is not None
        assert record.gradient_second_moment is not None
        errors[f"{record.index} {record.name}"] = record.gradient_second_moment**0.5 / seen.rms - 1
    assert len(errors) > 5
    assert {name: error for name, error in errors.items() if abs(error) > BAR} == {}


def test_what_has_no_backward_rule_leaves_everything_before_it_unknown() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.softmax(self.first(x), dim=-1))

    first, _, last = predict(Model(), torch.randn(16, 8, generator=seeded()), gradients=True).records
    assert last.gradient_second_moment == 1
    assert first.gradient_second_moment is None
    assert "softmax" in first.gradient_unknown


def test_gradients_are_not_computed_unless_asked_for() -> None:
    (record,) = predict(nn.Linear(8, 8), torch.randn(16, 8, generator=seeded())).records
    assert record.gradient_second_moment is None
    assert record.gradient_unknown == ""

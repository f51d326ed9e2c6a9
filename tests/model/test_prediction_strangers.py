"""Models of kinds that no rule was written for: every call within 5 % of what is measured, none unknown."""

import importlib.util
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma import measure, predict

_spec = importlib.util.spec_from_file_location("strangers", Path(__file__).with_name("strangers.py"))
assert _spec is not None
assert _spec.loader is not None
strangers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(strangers)

BAR = 0.05
SEEDS = (0, 1, 2)


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


IMAGES, TOKENS = drawn(32, 3, 32, 32, seed=1), drawn(32, 16, 256, seed=2)

Case = tuple[Callable[[], nn.Module], object]
CASES: dict[str, Case] = {
    "inverted residuals": (strangers.Inverted, IMAGES),
    "inverted residuals, 5 × 5": (lambda: strangers.Inverted(extent=5), IMAGES),
    "windows": (strangers.Windows, IMAGES),
    "talking heads": (lambda: strangers.Heads("talking"), TOKENS),
    "one head of keys": (lambda: strangers.Heads("shared"), TOKENS),
    "shuffled": (strangers.Shuffled, IMAGES),
}


@pytest.mark.parametrize("name", CASES)
def test_every_call_is_known_and_within_five_percent(name: str) -> None:
    make, batch = CASES[name]
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = make()
        seen = {(record.layer, record.op, record.call): record.output for record in measure(model, batch).records}
        for record in predict(model, batch).records:
            measured = seen.get((record.layer, record.op, record.call))
            assert record.unknown == ""
            if record.std is not None and measured is not None and measured.std > 1e-6:
                found.setdefault(f"{record.index} {record.name} {record.op}", []).append(record.std / measured.std)
    means = {name: statistics.mean(values) - 1 for name, values in found.items()}
    errors = {name: statistics.stdev(values) / math.sqrt(len(values)) for name, values in found.items()}
    assert {name: mean for name, mean in means.items() if abs(mean) > BAR + 2 * errors[name]} == {}

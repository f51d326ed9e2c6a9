"""What was compiled, and has run so, does after every verb what the model does as it is written."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from onesigma.norm import (
    calibrate_,
    fold_,
    freeze_,
    ghost_,
    insert_,
    keep_float32_,
    renorm_,
    strip_biases_,
    synchronize_,
)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BATCHES = [2 * seeded(8, 3, 6, 6, seed=seed) + 1 for seed in range(3)]

VERBS: dict[str, Callable[[nn.Module], Any]] = {
    "fold": lambda model: fold_(model, BATCHES),
    "calibrate": lambda model: calibrate_(model, BATCHES),
    "insert before": lambda model: insert_(model, BATCHES, layers=["head"]),
    "insert after": lambda model: insert_(model, BATCHES, layers=["head"], position="after"),
    "strip": lambda model: strip_biases_(model, BATCHES),
    "freeze": freeze_,
    "synchronize": synchronize_,
    "ghost": lambda model: ghost_(model, size=4),
    "renorm": renorm_,
    "float32": keep_float32_,
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.first = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc, self.second, self.head = nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
        for batch in BATCHES:
            self(batch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(self.conv(x))).flatten(1)
        return torch.tanh(self.head(torch.relu(self.second(self.fc(x)))))


def wrapped(model: nn.Module) -> nn.Module:
    compiled: Any = torch.compile(model, backend="eager")
    return compiled


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


@pytest.fixture(autouse=True)
def nothing_is_compiled_before() -> Iterator[None]:
    """Code that was compiled too often, in whichever test, runs as it is written."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:Using `torch.compile")
# Where a graph breaks, Dynamo itself looks for a .grad, and hides the warning only if warnings are no errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("make", [wrapped, in_place])
@pytest.mark.parametrize("name", VERBS)
def test_a_compiled_model_that_has_run_follows(name: str, make: Callable[[nn.Module], nn.Module]) -> None:
    expected = Net()
    original = copy.deepcopy(expected)
    compiled = make(copy.deepcopy(expected))
    for training in (True, False):
        for model in (compiled, expected, original):
            model.train(training)(BATCHES[0])
    edits, others = VERBS[name](compiled), VERBS[name](expected)
    assert edits.applied
    assert list(edits) == list(others)
    for training in (False, True):
        outputs = [model.train(training)(BATCHES[1]) for model in (compiled, expected)]
        torch.testing.assert_close(*outputs)
    edits.undo()
    others.undo()
    torch.testing.assert_close(compiled.eval()(BATCHES[2]), expected.eval()(BATCHES[2]))


@pytest.mark.parametrize("name", ["insert after", "freeze"])
def test_a_copy_of_a_compiled_model_is_not_the_model(name: str) -> None:
    model = in_place(Net())
    VERBS[name](model)
    other = copy.deepcopy(model).double()
    with torch.no_grad():
        other.head.weight.zero_()
    assert not torch.equal(other.eval()(BATCHES[0].double()), model.eval()(BATCHES[0]).double())

"""The main job on real data: two deep networks on tables that scikit-learn bundles, as they come and repaired."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.utils import Bunch
from torch import nn

from onesigma.workflows.problem import Problem, problem_from_arrays
from onesigma.workflows.repair import Repair, repair
from onesigma.workflows.training import accuracy, train

__all__ = ["DEPTH", "STEPS", "Act", "acts", "wine_table"]

DEPTH = 20
STEPS = 300
_WIDTH = 64
_SEED = 0


@dataclass(frozen=True, slots=True)
class Act:
    """One network on one table, before and after its repair.

    Attributes:
        name: "wine" or "digits".
        network: The network in words.
        repaired: The repaired model and its report.
        curves: Losses of both trainings, by name.
        accuracies: Share of held-out rows that each gets right after training, by the same names.
    """

    name: str
    network: str
    repaired: Repair
    curves: dict[str, tuple[float, ...]]
    accuracies: dict[str, float]


def acts(*, steps: int = STEPS, on_step: Callable[[str, float], None] = lambda name, loss: None) -> Iterator[Act]:
    """Run both acts, each when it is asked for; `on_step` hears of every training step, with its loss.

    Statistics of the inputs come from the training rows alone; both trainings see the same batches.
    """
    wine = _problem(load_wine(), target="cultivar")
    yield _act("wine", f"{DEPTH} tanh layers", wine, nn.Tanh, norm=False, steps=steps, on_step=on_step)
    digits = _problem(load_digits(), target="digit")
    yield _act("digits", f"{DEPTH} ReLU layers", digits, nn.ReLU, norm=True, steps=steps, on_step=on_step)


def wine_table() -> tuple[tuple[str, ...], list[list[float]]]:
    """The wine table with its target last, for `check --data`: column names and rows."""
    bunch = load_wine()
    rows = [[*map(float, row), float(label)] for row, label in zip(bunch.data, bunch.target, strict=True)]
    return (*bunch.feature_names, "cultivar"), rows


def _problem(bunch: Bunch, *, target: str) -> Problem:
    return problem_from_arrays(bunch.data, bunch.target, names=tuple(bunch.feature_names), target=target)


def _act(
    name: str,
    network: str,
    problem: Problem,
    activation: Callable[[], nn.Module],
    *,
    norm: bool,
    steps: int,
    on_step: Callable[[str, float], None],
) -> Act:
    training, held_out = problem.split(0.75, seed=_SEED)
    model = _network(problem.num_features, problem.num_outputs or 1, activation)
    repaired = repair(model, training, norm="before" if norm else None, seed=_SEED, source=f"scikit-learn {name}")
    curves, accuracies = {}, {}
    for label, module, data, test in (
        (f"{name}, as torch leaves it", model, training, held_out),
        (f"{name}, repaired", repaired.model, repaired.inputs(training), repaired.inputs(held_out)),
    ):
        curves[label] = train(module, data, steps=steps, seed=_SEED, on_step=partial(on_step, label))
        accuracies[label] = accuracy(module, test)
    return Act(name, network, repaired, curves, accuracies)


def _network(num_features: int, num_outputs: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """torch's own defaults, from a seed that leaves the global random state alone."""
    widths = [num_features] + [_WIDTH] * DEPTH
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        hidden = [part for i in range(DEPTH) for part in (nn.Linear(widths[i], widths[i + 1]), activation())]
        return nn.Sequential(*hidden, nn.Linear(_WIDTH, num_outputs))

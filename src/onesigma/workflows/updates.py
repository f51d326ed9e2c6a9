"""Some steps of training on a copy: how large updates are against the weights they change."""

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from statistics import median

import torch
from torch import nn

from onesigma._errors import ConfigError
from onesigma._typing import Loss
from onesigma.measure import criterion_of
from onesigma.model.batches import Batch
from onesigma.model.names import parameter_names, unwrapped
from onesigma.model.state import random_state_preserved
from onesigma.model.trace import Trace

__all__ = ["MakeOptimizer", "Updates", "train_copy"]

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer from parameters: `lambda params: torch.optim.Adam(params, lr=1e-3)`."""


@dataclass(frozen=True, slots=True)
class Updates:
    """What training a copy did.

    Attributes:
        model: The trained copy.
        ratios: Canonical name → median, over the steps that moved it, of std(update)/std(weight before it); else 0.
        steps: How many steps were taken.
    """

    model: nn.Module
    ratios: dict[str, float]
    steps: int

    def added_to(self, trace: Trace) -> Trace:
        """The trace with the update ratios at its parameters."""
        parameters = tuple(
            replace(parameter, update_ratio=self.ratios[parameter.name], num_updates=self.steps)
            if parameter.name in self.ratios
            else parameter
            for parameter in trace.parameters
        )
        return replace(trace, parameters=parameters)


def train_copy(
    model: nn.Module, batches: Sequence[Batch], *, loss: Loss | str | None, optimizer: MakeOptimizer, steps: int
) -> Updates:
    """Train a deep copy for `steps` steps, going round the batches; the model and all random state stay as they are.

    Raises:
        ConfigError: There is no loss to train with.
    """
    twin = copy.deepcopy(unwrapped(model)).train()
    criterion = criterion_of(loss)
    chosen = optimizer(twin.parameters())
    ratios: defaultdict[str, list[float]] = defaultdict(list)
    with random_state_preserved(), torch.enable_grad():
        for batch in islice(cycle(batches), steps):
            batch = batch.owned_by(twin)
            before = {name: value.detach().clone() for name, value in parameter_names(twin).items()}
            chosen.zero_grad()
            output = twin(*batch.args, **batch.kwargs)
            if not criterion.applies(output):
                raise ConfigError('check: steps trains a copy and needs a loss: loss="cross_entropy", or a callable.')
            criterion.value(output, batch.targets).backward()
            chosen.step()
            for name, value in parameter_names(twin).items():
                if value.requires_grad and before[name].numel() > 1 and (std := float(before[name].std())) > 0:
                    ratios[name].append(float((value.detach() - before[name]).std()) / std)
    return Updates(twin, {name: _typical(values) for name, values in ratios.items()}, steps)


def _typical(ratios: Sequence[float]) -> float:
    """Of the steps that moved the weight: one whose units die at the third step was moved too far, not too little."""
    return median([ratio for ratio in ratios if ratio] or [0.0])

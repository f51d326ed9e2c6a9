"""What a model under repair is fed with: rows of a table, or batches of any kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch

from onesigma._errors import BatchError
from onesigma._typing import Batches, Loss
from onesigma.inputs import StandardScaler
from onesigma.inputs.layer import Standardize
from onesigma.model.batches import Batch, iterate_batches
from onesigma.numbers.columns import Columns
from onesigma.workflows.problem import Problem
from onesigma.workflows.updates import MakeOptimizer

__all__ = ["BatchFeed", "Feed", "TableFeed", "feed_of"]

# A model reads columns of a table or of a sequence along the last axis, channels of an image along the second.
_COLUMN_AXIS = {2: -1, 3: -1, 4: 1, 5: 1}


class Feed(Protocol):
    """Batches, how they are judged, and how their columns are standardized."""

    @property
    def batches(self) -> Any:
        """As `check` takes them."""

    @property
    def asked(self) -> Mapping[str, Any]:
        """Of `check`: the loss, and the training where one is asked for."""

    @property
    def noun(self) -> str:
        """What has a mean and a std of its own: columns or channels."""

    @property
    def std(self) -> float:
        """Of all values of the inputs."""

    def fit(self, source: str) -> StandardScaler:
        """The statistics of the columns."""

    def layer(self, scaler: StandardScaler) -> Standardize:
        """The scaler as a layer for these inputs."""

    def standardized(self, scaler: StandardScaler) -> Self:
        """The same with standardized columns."""


@dataclass(frozen=True, slots=True)
class TableFeed:
    """Rows of a table: statistics are those of all, judged is a sample."""

    problem: Problem
    sample: Problem

    @property
    def batches(self) -> Any:  # noqa: D102
        return self.sample.batch()

    @property
    def asked(self) -> Mapping[str, Any]:  # noqa: D102
        return {"loss": self.sample.loss}

    @property
    def noun(self) -> str:  # noqa: D102
        return "columns"

    @property
    def std(self) -> float:  # noqa: D102
        return self.sample.inputs.std(correction=0).item()

    def fit(self, source: str) -> StandardScaler:  # noqa: D102
        columns = Columns.of(self.problem.inputs.numpy(), self.problem.names)
        return StandardScaler.from_columns(columns, provenance={"source": source} if source else None)

    def layer(self, scaler: StandardScaler) -> Standardize:  # noqa: D102
        return scaler.to_module()

    def standardized(self, scaler: StandardScaler) -> "TableFeed":  # noqa: D102
        with torch.no_grad():
            return replace(self, sample=replace(self.sample, inputs=self.layer(scaler)(self.sample.inputs)))


@dataclass(frozen=True, slots=True)
class BatchFeed:
    """Batches as a loader gives them; the one tensor that the model is called with has the columns."""

    batches: list[Batch]  # a tuple would be read as inputs and targets
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def noun(self) -> str:  # noqa: D102
        return "columns" if self._axis == -1 else "channels"

    @property
    def std(self) -> float:  # noqa: D102
        return float(torch.cat([self._input(batch).double().reshape(-1) for batch in self.batches]).std(correction=0))

    def fit(self, source: str) -> StandardScaler:  # noqa: D102
        values = [self._input(batch).movedim(self._axis, -1).double() for batch in self.batches]
        rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in values])
        return StandardScaler.from_columns(Columns.of(rows.detach().cpu().numpy()))

    def layer(self, scaler: StandardScaler) -> Standardize:  # noqa: D102
        return scaler.to_module(axis=self._axis)

    def standardized(self, scaler: StandardScaler) -> "BatchFeed":  # noqa: D102
        layer = self.layer(scaler)
        with torch.no_grad():
            scaled = [replace(batch, args=(layer(self._input(batch)),)) for batch in self.batches]
        return replace(self, batches=scaled)

    @property
    def _axis(self) -> int:
        return _COLUMN_AXIS[self._input(self.batches[0]).dim()]

    def _input(self, batch: Batch) -> torch.Tensor:
        """The tensor whose columns are meant."""
        if len(batch.args) != 1 or batch.kwargs or not isinstance(batch.args[0], torch.Tensor):
            raise BatchError("the model is called with more than one tensor; standardize each of them in the data.")
        values = batch.args[0]
        if not values.is_floating_point() or values.dim() not in _COLUMN_AXIS:
            came = f"{tuple(values.shape)} {str(values.dtype).removeprefix('torch.')}"
            raise BatchError(f"wanted columns or channels of floating-point numbers, got {came}; scale it in the data.")
        return values


def feed_of(
    data: Problem | Batches,
    *,
    rows: int,
    seed: int,
    loss: Loss | str | None = None,
    optimizer: MakeOptimizer | None = None,
    steps: int = 0,
) -> Feed:
    """A sample of so many rows of a table; or as many batches as `check` looks at."""
    if isinstance(data, Problem):
        return TableFeed(data, data.sample(rows, seed=seed))
    held = list(iterate_batches(data, limit=max(steps, 1)))
    return BatchFeed(held, {"loss": loss, "optimizer": optimizer, "steps": steps})

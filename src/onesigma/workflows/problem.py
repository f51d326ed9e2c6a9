"""A table and a target column as tensors that a model can be fed with."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from onesigma._errors import SourceError

__all__ = ["Problem", "Task", "problem_from_arrays"]

Task = Literal["classification", "regression", "none"]

# An integer target with at most this many values is read as class labels; `task=` overrules.
_MAX_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """What there is to learn, and from what.

    Attributes:
        names: Column names, one per feature.
        inputs: Features, (N, F), float64: cast after scaling, so that a unix time survives.
        targets: Class indices (N,) int64, or values (N,) float32; None without a target.
        task: "classification", "regression" or "none".
        classes: The label behind each class index.
        target: Name of the target column.
    """

    names: tuple[str, ...]
    inputs: torch.Tensor
    targets: torch.Tensor | None = None
    task: Task = "none"
    classes: tuple[str, ...] = ()
    target: str = ""

    @property
    def num_features(self) -> int:
        """F."""
        return self.inputs.shape[1]

    @property
    def num_outputs(self) -> int | None:
        """How many outputs the model needs: one a class, 1 for regression; None without a target."""
        return {"classification": len(self.classes), "regression": 1, "none": None}[self.task]

    @property
    def loss(self) -> str | None:
        """Name of the loss that fits the task."""
        return {"classification": "cross_entropy", "regression": "mse", "none": None}[self.task]

    def describe(self) -> str:
        """The task in words: "6 classes of quality"."""
        if self.task == "classification":
            return f"{len(self.classes)} classes of {self.target}"
        return f"{self.target} as a number" if self.task == "regression" else "no target"

    def sample(self, rows: int, *, seed: int = 0) -> "Problem":
        """At most `rows` rows, drawn without replacement: a sorted file must not be judged by its first lines."""
        if len(self.inputs) <= rows:
            return self
        return self._rows(np.random.default_rng(seed).permutation(len(self.inputs))[:rows])

    def split(self, share: float, *, seed: int = 0) -> tuple["Problem", "Problem"]:
        """Two parts without a common row; the first holds `share` of the rows."""
        order = np.random.default_rng(seed).permutation(len(self.inputs))
        first = round(share * len(order))
        return self._rows(order[:first]), self._rows(order[first:])

    def _rows(self, chosen: np.ndarray) -> "Problem":
        rows = torch.from_numpy(chosen)
        return replace(self, inputs=self.inputs[rows], targets=None if self.targets is None else self.targets[rows])

    def batch(self, inputs: torch.Tensor | None = None) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """`inputs` (its own unless given) as float32, with the targets in the shape that the loss wants."""
        features = (self.inputs if inputs is None else inputs).to(torch.float32)
        if self.targets is None:
            return features
        return features, self.targets if self.task == "classification" else self.targets[:, None]


def problem_from_arrays(
    inputs: np.ndarray,
    targets: np.ndarray | None,
    *,
    names: tuple[str, ...],
    task: Task | None = None,
    target: str = "target",
    where: str = "data",
) -> Problem:
    """Decide what the target is, unless `task` says so, and make tensors of both.

    Text, and integers of at most 20 different values, are class labels; other numbers are to be regressed on.
    """
    features = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float64))
    if targets is None:
        return Problem(tuple(names), features)
    chosen = task or ("classification" if _looks_like_labels(targets) else "regression")
    if chosen == "classification":
        classes, indices = np.unique(targets, return_inverse=True)
        labels = torch.from_numpy(indices.reshape(-1).astype(np.int64))
        return Problem(tuple(names), features, labels, "classification", tuple(map(_label, classes)), target)
    if targets.dtype.kind not in "biuf":
        raise SourceError(
            f"{where}: target {target!r} is text, which has no mean to regress on; use --task classification."
        )
    values = torch.from_numpy(targets.astype(np.float32))
    return Problem(tuple(names), features, values, "regression", (), target)


def _looks_like_labels(targets: np.ndarray) -> bool:
    if targets.dtype.kind not in "biuf":
        return True
    distinct = np.unique(targets)
    return len(distinct) <= _MAX_CLASSES and bool(np.all(distinct == np.floor(distinct)))


def _label(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)

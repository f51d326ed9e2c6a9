"""How the units of an activation work: where its slope is small, and where it is none."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from onesigma.model.graph import Call
from onesigma.model.kernel import negative_counts, slope_counts
from onesigma.model.reduction import wide_dtype
from onesigma.model.trace import Activity

__all__ = ["Units", "activity_of", "activity_row"]

_FLAT_ENOUGH = 0.06  # Of the largest slope: for tanh exactly where |tanh| > 0.97.
_NEARLY_ALL = 0.99
_GRID = 12.0
_JUDGED_TEXT = """
    relu relu6 selu silu mish hardsigmoid hardswish sigmoid tanh softsign logsigmoid tanhshrink sin cos leaky_relu prelu
    rrelu elu celu gelu softplus hardtanh softshrink hardshrink threshold clamp clamp_min clamp_max atan erf
"""
_JUDGED = frozenset(_JUDGED_TEXT.split())


@dataclass(frozen=True, slots=True)
class Units:
    """How the numbers of one activation are to be read.

    Attributes:
        num_units: Channels or features.
        num_observations: Values per unit.
        is_rectifier: Piecewise linear with a flat piece, so that a unit can be off, on, or always one of them.
    """

    num_units: int
    num_observations: int
    is_rectifier: bool


def activity_row(call: Call, tensor: torch.Tensor, *, axis: int) -> tuple[torch.Tensor, Units] | None:
    """Per unit, the number of saturated and of flat observations, on the tensor's device; None if not judged."""
    if call.function is None or call.op not in _JUDGED or not tensor.dim() or not tensor.numel():
        return None
    largest, is_rectifier = (1.0, True) if call.op == "relu" else _shape_of(call.function)
    axis %= tensor.dim()
    shape = (math.prod(tensor.shape[:axis]), tensor.shape[axis], math.prod(tensor.shape[axis + 1 :]))
    units = Units(shape[1], shape[0] * shape[2], is_rectifier)
    with torch.no_grad(), torch._C.DisableTorchFunction():
        if call.op == "relu":
            flat = _negative(tensor.detach().reshape(shape))
            return torch.cat([flat, flat]), units
        slopes = _slopes(call.function, tensor).reshape(shape)
        return _counts(slopes, small=_FLAT_ENOUGH * largest).reshape(-1), units


def _negative(values: torch.Tensor) -> torch.Tensor:
    """Per unit, how many values are 0 or less; values are (outer, unit, inner)."""
    if values.device.type == "cpu":
        return torch.from_numpy(negative_counts(_countable(values)))
    return (values <= 0).sum((0, 2)).to(wide_dtype(values.device))


def _counts(slopes: torch.Tensor, *, small: float) -> torch.Tensor:
    """Per unit, how many slopes are below `small`, and how many are 0; slopes are (outer, unit, inner)."""
    if slopes.device.type == "cpu":
        return torch.from_numpy(slope_counts(_countable(slopes), small))
    return torch.stack([(slopes < small).sum((0, 2)), (slopes == 0).sum((0, 2))]).to(wide_dtype(slopes.device))


def _countable(values: torch.Tensor) -> np.ndarray:
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    found: np.ndarray = values.contiguous().numpy()
    return found


def activity_of(row: np.ndarray, units: Units) -> Activity:
    """Read the counts of one or several passes."""
    saturated, flat = row[: units.num_units], row[units.num_units :]
    total = units.num_observations
    firing = 1 - flat / total
    return Activity(
        num_units=units.num_units,
        num_observations=total,
        saturated=float(saturated.sum() / (total * units.num_units)),
        saturated_units=float(np.mean(saturated > _NEARLY_ALL * total)),
        dead_units=float(np.mean(flat == total)),
        always_on_units=float(np.mean(flat == 0)) if units.is_rectifier else 0.0,
        firing=tuple(firing.tolist()) if units.is_rectifier else (),
    )


def _slopes(function: Callable[[torch.Tensor], torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    """|f'(x)| at every value; NaN where x is."""
    # A model may be keeping what autograd saves, as checkpoints do; this graph is none of its business.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x),
    ):
        x = tensor.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope.abs_()


def _shape_of(function: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, bool]:
    """The largest slope of f on a grid, and whether f is piecewise linear with a flat piece."""
    slopes = _slopes(function, torch.linspace(-_GRID, _GRID, 4801, dtype=torch.float64))
    largest = float(slopes.max())
    kinds = torch.unique(slopes)
    is_rectifier = len(kinds) <= 3 and float(kinds[0]) == 0 and float((slopes == 0).double().mean()) > 0.01
    return (largest if math.isfinite(largest) and largest > 0 else 1.0), is_rectifier

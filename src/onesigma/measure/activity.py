"""How the units of an activation work: where its slope is small, and where it is none."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from onesigma.model.graph import Call
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
    largest, is_rectifier = _shape_of(call.function)
    slopes = _slopes(call.function, tensor).movedim(axis, -1)
    num_units = slopes.shape[-1]
    slopes = slopes.reshape(-1, num_units)
    saturated = (slopes < _FLAT_ENOUGH * largest).sum(0, dtype=torch.float32)
    flat = (slopes == 0).sum(0, dtype=torch.float32)
    return torch.cat([saturated, flat]), Units(num_units, slopes.shape[0], is_rectifier)


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
    with torch.enable_grad():
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

"""E[f(x)] for a normal x and any activation, with its error."""

import math
from dataclasses import replace

import numpy as np

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.activations import activation
from onesigma.numbers.pointwise import Pointwise, pointwise
from onesigma.numbers.quadrature import Evaluate, Grid, adaptive_grid

__all__ = ["expectation", "function_of", "grid_of"]

_WORST_ERROR = 1e-4  # of E|f| or E[f²]; what is known no better is refused


def expectation(f: Activation | str, variance: float = 1.0, *, mean: float = 0.0) -> float:
    """E[f(x)], x ~ N(mean, variance), for any function or name.

    Raises:
        GainError: There is no such expectation, or the variance is negative or not finite.

    Example:
        >>> import torch
        >>> round(expectation("relu"), 6), round(expectation(torch.square, 4.0, mean=3.0), 6)
        (0.398942, 13.0)
    """
    if not (math.isfinite(mean) and math.isfinite(variance) and variance >= 0):
        raise GainError(f"x ~ N({mean:g}, {variance:g}) does not exist: a finite mean and a variance ≥ 0 are needed.")
    function = function_of(f)
    std = math.sqrt(variance)
    grid = grid_of(function, lambda z: function(mean + std * z), powers=1)
    return grid.expectation(grid.values)


def function_of(f: Activation | str) -> Pointwise:
    """A name or a callable as a function of float64 arrays."""
    if not isinstance(f, str):
        return pointwise(f)
    return replace(pointwise(activation(f)), name=f)


def grid_of(f: Pointwise, evaluate: Evaluate, *, powers: int = 2) -> Grid:
    """The grid of `evaluate`, whose first rows are the values of f.

    Raises:
        GainError: As `adaptive_grid`; or the values have a singularity that is not integrable.
    """
    try:
        grid = adaptive_grid(evaluate, powers=powers, precision=f.precision)
    except GainError as error:
        raise GainError(f"{f.name}: {error}") from None
    rows = slice(0, f.channels)
    errors, sizes = grid.errors[:, rows], grid.sizes[:, rows]
    good = np.isfinite(sizes) & (errors <= max(_WORST_ERROR, 4 * f.precision) * sizes)
    if not good.all():
        moment = "second moment" if powers == 2 else "expectation"
        raise GainError(
            f"{f.name}: the {moment} does not exist, or not to four digits: the function is singular or rough "
            f"beyond what {grid.points.size} points resolve; smooth it or bound it."
        )
    return grid

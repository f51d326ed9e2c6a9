"""E[f(u)·f(v)] for two standard normals u, v of any correlation."""

import math
from dataclasses import dataclass

import numpy as np

from onesigma.numbers.expectation import grid_of
from onesigma.numbers.lobatto import ORDER, Array
from onesigma.numbers.pointwise import Pointwise
from onesigma.numbers.quadrature import Evaluate, Grid, adaptive_grid

__all__ = ["pair_expectation"]

_REACH = 10.0  # of the inner variable; its density is 1e-22 there
_WIDEST, _NARROWEST = 0.5, 0.02  # bounds of the panels in which f is smooth
_SINGULAR = 1e-6  # the adaptive grid makes panels as narrow as this at breakpoints only
_CHUNK = 1000
_BUDGET = 2**15  # values of the smoothed function, each of which takes hundreds of f
# Gauss, not Lobatto: no node falls on a breakpoint, where rounding would pick a side.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def pair_expectation(f: Pointwise, correlation: float, *, slopes: bool = False) -> float:
    """E[f(u)·f(v)], or E[f′(u)·f′(v)], with u, v ~ N(0, 1) of this correlation; the mean over channels.

    With y, e, e′ independent and c ≥ 0, u = √c·y + √(1−c)·e and v = √c·y + √(1−c)·e′, so that the expectation is
    E[g(y)²] with g(y) = E_e[f(√c·y + √(1−c)·e)]: f smoothed by a normal, and so smooth itself. For c < 0 it is
    E[g(y)·g(−y)]. The inner integral splits at the breakpoints of f, the outer one is adaptive.
    """
    evaluate = (lambda x: f.with_slope(x)[f.channels :]) if slopes else f
    grid = grid_of(f, f.with_slope if f.differentiable else f)
    values = grid.values[f.channels :] if slopes else grid.values[: f.channels]
    if correlation == 0:
        return float(((values * grid.weights).sum(axis=-1) ** 2).mean())
    if abs(correlation) == 1:
        return grid.expectation(values * (values if correlation > 0 else grid.mirrored(values)))
    shared, own = math.sqrt(abs(correlation)), math.sqrt(1 - abs(correlation))
    breakpoints = np.unique(np.round(_breakpoints(grid), 14))
    inner = _Smoothed(evaluate, shared, own, breakpoints, min(1.5, _width(grid, breakpoints) / own))
    rms = math.sqrt(grid.second_moment(values))
    outer = adaptive_grid(inner, precision=f.precision, width=2.0, floor=rms, budget=_BUDGET)
    smooth = outer.values
    return outer.expectation(smooth * (smooth if correlation > 0 else outer.mirrored(smooth)))


def _breakpoints(grid: Grid) -> Array:
    """Where the functions on the grid jump: inside the narrowest panels, or from one panel to the next."""
    points, values = _ends(grid.points), _ends(grid.values)
    backward = points[:, 0] > points[:, 1]
    points[backward], values[:, backward] = points[backward, ::-1], values[:, backward, ::-1]
    order = np.argsort(points[:, 0])
    points, values = points[order], values[:, order]
    before, after = values[:, :-1, 1], values[:, 1:, 0]
    jumps = np.abs(after - before) > 1e-6 * (np.abs(after) + np.abs(before)) + 1e-12
    between = points[1:, 0][jumps.any(axis=0)]
    return np.concatenate(([0.0], between, points[points[:, 1] - points[:, 0] < _SINGULAR, 0]))


def _ends(values: Array) -> Array:
    """What stands at the first and at the last node of each panel."""
    return values.reshape(*values.shape[:-1], -1, ORDER)[..., [0, -1]].copy()


def _width(grid: Grid, breakpoints: Array) -> float:
    """A panel width that resolves the functions between their breakpoints."""
    distance = np.abs(grid.points[:, None] - breakpoints).min(axis=1)
    fine = grid.widths[16 * grid.widths < distance]  # narrow for its own sake, not on the way to a breakpoint
    return float(np.clip(4 * fine.min(initial=_WIDEST), _NARROWEST, _WIDEST))


@dataclass(frozen=True, slots=True)
class _Smoothed:
    """g(y) = E_e[f(shared·y + own·e)], (Y,) → (C, Y)."""

    evaluate: Evaluate
    shared: float
    own: float
    breakpoints: Array
    width: float

    def __call__(self, points: Array) -> Array:
        chunks = np.array_split(points, max(1, len(points) // _CHUNK))
        return np.concatenate([self._smooth(chunk) for chunk in chunks], axis=1)

    def _smooth(self, points: Array) -> Array:
        steps = np.linspace(-_REACH, _REACH, 1 + math.ceil(2 * _REACH / self.width))
        kinks = np.clip((self.breakpoints - self.shared * points[:, None]) / self.own, -_REACH, _REACH)
        edges = np.sort(np.concatenate((np.broadcast_to(steps, (len(points), len(steps))), kinks), axis=1), axis=1)
        half = np.diff(edges, axis=1)[..., None] / 2
        inner = edges[:, :-1, None] + half * (1 + _NODES)
        weights = half * _WEIGHTS * np.exp(-(inner**2) / 2) / math.sqrt(2 * math.pi)
        values = self.evaluate((self.shared * points[:, None, None] + self.own * inner).ravel())
        smoothed: Array = (values.reshape(-1, *inner.shape) * weights).sum(axis=(-2, -1))
        return smoothed

"""E[f(u)·f(v)] for two standard normals u, v of any correlation."""

import math
from dataclasses import dataclass

import numpy as np

from .expectation import grid_of
from .lobatto import Array
from .pointwise import Pointwise
from .quadrature import Evaluate, Grid, adaptive_grid

__all__ = ["pair_expectation"]

_REACH = 10.0  # of the inner variable; its density is 1e-22 there
_WIDEST, _NARROWEST = 0.5, 0.02  # bounds of the panels in which f is smooth
_SINGULAR = 1e-6  # the adaptive grid makes panels as narrow as this at breakpoints only
_CHUNK = 1000
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
    breakpoints, width = _structure(grid)
    inner = _Smoothed(evaluate, shared, own, breakpoints, min(1.5, width / own))
    outer = adaptive_grid(inner, precision=f.precision, width=2.0, floor=math.sqrt(grid.second_moment(values)))
    smooth = outer.values
    return outer.expectation(smooth * (smooth if correlation > 0 else outer.mirrored(smooth)))


def _structure(grid: Grid) -> tuple[Array, float]:
    """Where f is not smooth, and a panel width that resolves it in between."""
    order = np.argsort(grid.points)
    points, widths = grid.points[order], grid.widths[order]
    near, narrow = points[widths < _SINGULAR], widths[widths < _SINGULAR]
    clusters = np.split(np.arange(len(near)), np.flatnonzero(np.diff(near) > 10 * _SINGULAR) + 1) if len(near) else []
    breakpoints = np.array([0.0, *(near[cluster[np.argmin(narrow[cluster])]] for cluster in clusters)])
    distance = np.abs(points[:, None] - breakpoints).min(axis=1)
    fine = widths[16 * widths < distance]  # narrow for its own sake, not on the way to a breakpoint
    return breakpoints, float(np.clip(4 * fine.min(initial=_WIDEST), _NARROWEST, _WIDEST))


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

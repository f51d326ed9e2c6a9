"""Expectations under a standard normal: Gauss–Lobatto panels that close in on kinks, jumps and poles by themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onesigma._errors import GainError
from onesigma.numbers.lobatto import DERIVATIVE, NODES, OPEN_WEIGHTS, ORDER, WEIGHTS, Array

__all__ = ["Evaluate", "Grid", "adaptive_grid"]

Evaluate: TypeAlias = Callable[[Array], Array]
"""K functions at once: points (P,) in, values (K, P) out."""

_PARTS = 4
_REACHES = (14.0, 25.0, 37.0)  # the density is 1e-43 at 14 and leaves float64 soon after 37
_NEGLIGIBLE = 1e-17  # of the whole: what the outermost panel may hold
_EPSILON = float(np.finfo(np.float64).eps)
_SINGLE = float(np.finfo(np.float32).eps)
_MAX_DEPTH = 60
_MAX_PANELS = 2**12  # at one depth: a function that needs more is rough everywhere, as with float32 noise


@dataclass(frozen=True, slots=True)
class Grid:
    """Where K functions were evaluated, so that E[g(z, f(z))] = Σ weight · g(point, value).

    The panels behind the points end at every kink and jump of the functions: the sum is exact to rounding
    for any g that is smooth in between.

    Attributes:
        points: (P,); the second half is the first one negated.
        weights: (P,); the normal density is in them.
        values: (K, P).
        errors: (powers, K): bounds of the error of E[v], E[v²].
        sizes: (powers, K): E|v|, E[v²].
        widths: (P,): the width of the panel that each point belongs to.
    """

    points: Array
    weights: Array
    values: Array
    errors: Array
    sizes: Array
    widths: Array

    def expectation(self, values: Array) -> float:
        """E[g] for g at the points, (P,); for several functions, (K, P), the mean of their expectations."""
        return float((values * self.weights).sum(axis=-1).mean())

    def second_moment(self, values: Array) -> float:
        """E[g²], likewise; g² may leave float64 where its share of the expectation does not."""
        return float(((values * np.sqrt(self.weights)) ** 2).sum(axis=-1).mean())

    def mirrored(self, values: Array) -> Array:
        """`values` at the negated points."""
        return np.roll(values, values.shape[-1] // 2, axis=-1)

    def derivative(self, values: Array) -> Array:
        """The slope of `values`, (…, P), from the panels' own polynomials; 0 across a jump."""
        panels = values.reshape(*values.shape[:-1], -1, ORDER)
        widths = self.widths.reshape(-1, ORDER)
        sign = np.where(self.points.reshape(-1, ORDER) < 0, -1.0, 1.0)
        smooth = panels @ DERIVATIVE.T * 2 / widths
        chord = (panels[..., -1:] - panels[..., :1]) / widths
        # Differentiation divides rounding by the width: in narrow panels, which only stand at kinks, a chord is better.
        slopes = np.where(widths > 1e-4, smooth, np.where(widths > 1e-9, chord, 0.0)) * sign
        rounding = 1e-14 * np.abs(panels).max(axis=-1, keepdims=True)
        slopes = np.where(np.ptp(panels, axis=-1, keepdims=True) > rounding, slopes, 0.0)
        return slopes.reshape(values.shape)


@dataclass(frozen=True, slots=True)
class _Panels:
    """K functions on M panels of t ≥ 0, each at t and at −t: values (K, 2, M, n), integrals (powers, K, 2, M).

    `doubts` is what the ends alone decide: nothing where a function is smooth, all of it at a pole. `noise` is what
    the rounding of the points does to the integrals, which no splitting mends.
    """

    low: Array
    high: Array
    points: Array
    weights: Array
    values: Array
    integrals: Array
    sizes: Array
    doubts: Array
    noise: Array

    def __getitem__(self, chosen: NDArray[np.bool_] | slice) -> "_Panels":
        ends = self.low[chosen], self.high[chosen], self.points[chosen], self.weights[chosen]
        sums = self.integrals[..., chosen], self.sizes[..., chosen], self.doubts[..., chosen], self.noise[..., chosen]
        return _Panels(*ends, self.values[:, :, chosen], *sums)

    def split(self) -> tuple[Array, Array]:
        """The low and high ends of `_PARTS` equal parts of each panel, in order."""
        shares = np.linspace(0, 1, _PARTS + 1)
        edges = self.low[:, None] + (self.high - self.low)[:, None] * shares
        edges[:, -1] = self.high
        return edges[:, :-1].ravel(), edges[:, 1:].ravel()


def _measure(evaluate: Evaluate, edges: tuple[Array, Array], powers: int) -> _Panels:
    """Evaluate on panels; their ends are taken one rounding inside, so that a jump at an edge belongs to one side."""
    low, high = edges
    half = (high - low) / 2
    points = (low + half)[:, None] + half[:, None] * NODES
    points[:, 0] = np.maximum(np.nextafter(low, high), low + 1e-17 * half)
    points[:, -1] = np.nextafter(high, low)
    weights = half[:, None] * WEIGHTS * np.exp(-(points**2) / 2) / np.sqrt(2 * np.pi)
    values = evaluate(np.concatenate((points.ravel(), -points.ravel())))
    values = values.reshape(len(values), 2, *points.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        # (v·√w)², not v²·w: v² may leave float64 where its share of the expectation does not.
        terms = [values * weights, (values * np.sqrt(weights)) ** 2][:powers]
        integrals = np.stack([term.sum(axis=-1) for term in terms])
        sizes = np.stack([np.abs(term).sum(axis=-1) for term in terms])
        doubts = np.stack([np.abs(term @ (OPEN_WEIGHTS / WEIGHTS - 1)) for term in terms])
        noise = np.stack([np.ptp(term / WEIGHTS, axis=-1) for term in terms]) * np.spacing(high) / half
    return _Panels(low, high, points, weights, values, integrals, sizes, doubts, noise)


def _first_panels(evaluate: Evaluate, powers: int, width: float) -> _Panels:
    """Panels as far out as the functions matter.

    Raises:
        GainError: They matter farther out than float64 reaches, or are not finite where they matter.
    """
    for reach in _REACHES:
        edges = np.arange(0.0, reach + width, width)
        panels = _measure(evaluate, (edges[:-1], edges[1:]), powers)
        finite = np.isfinite(panels.sizes.sum(axis=(0, 1, 2)))
        end = len(finite) if finite.all() else int(np.argmin(finite))
        if end and _fades(panels.sizes[..., :end]):
            return panels[:end]
        if end < len(finite):
            raise GainError(_nonfinite(panels, end))
    raise GainError(
        f"the expectation does not exist: values {reach:g} standard deviations out still count, so the function "
        f"grows like exp(z²/{2 * powers}) or faster; use one that grows more slowly, or bound its input."
    )


def _fades(sizes: Array) -> bool:
    """Whether the outermost panel adds nothing to the whole."""
    whole = sizes.sum(axis=(-2, -1))
    return bool((sizes[..., -1].sum(axis=-1) <= _NEGLIGIBLE * whole).all())


def _nonfinite(panels: _Panels, index: int) -> str:
    """Say where the functions leave the finite numbers."""
    values, points = panels.values[:, :, index], panels.points[index]
    places = np.argwhere(~np.isfinite(values))
    if not len(places):
        return f"the expectation overflows float64 at z = {points[0]:.3g}; scale the function's input down."
    row, side, node = places[len(places) // 2]
    value, point = values[row, side, node], points[node] * (1, -1)[side]
    return f"the function is {value:g} at z = {point:.3g}, and z ~ N(0, 1) goes there: it must be finite on the line."


def adaptive_grid(
    evaluate: Evaluate,
    *,
    powers: int = 2,
    precision: float = _EPSILON,
    width: float = 0.5,
    floor: float = 0.0,
    budget: int = 2**22,
) -> Grid:
    """Points and weights for expectations of these functions over z ~ N(0, 1).

    Panels are split until the parts agree with the whole for E[v] and, with `powers=2`, for E[v²], to the
    last bits; around a kink or a jump that goes on until the panel is a few roundings wide.

    Args:
        evaluate: Points (P,) in, values (K, P) out.
        powers: 1 where only E[v] has to exist.
        precision: Relative rounding error of the values themselves.
        width: Of the first panels; wider ones do for functions known to be smooth.
        floor: An rms that counts as rounding is relative to it, where the values are what cancellation left.
        budget: Values after which the error is taken as it is.

    Raises:
        GainError: No such expectation: not finite somewhere, or growing too fast.
    """
    panels = _first_panels(evaluate, powers, width)
    tolerance = 4 * min(precision, _SINGLE)
    floors = floor ** np.arange(1, powers + 1)[:, None]
    done_sizes = errors = np.zeros(panels.sizes.shape[:2])
    finished, spent = [], 0
    for depth in range(_MAX_DEPTH):
        parts = _measure(evaluate, panels.split(), powers)
        spent += parts.values.size
        changes, noise = _changes(panels, parts)
        whole = np.maximum(done_sizes + parts.sizes.sum(axis=(2, 3)), floors)
        agreed = (changes <= tolerance * whole[..., None] + noise).all(axis=(0, 1))
        narrow = panels.high - panels.low <= 8 * np.spacing(panels.high)
        give_up = depth == _MAX_DEPTH - 1 or spent > budget or len(parts.low) > _MAX_PANELS
        done = agreed | narrow | give_up
        done_parts = np.repeat(done, _PARTS)
        finished.append(parts[done_parts])
        errors = errors + changes[..., done].sum(axis=-1)
        done_sizes = done_sizes + finished[-1].sizes.sum(axis=(2, 3))
        if done.all():
            break
        panels = parts[~done_parts]
    return _joined(finished, errors + (2 * precision + 6 * _EPSILON) * done_sizes, done_sizes)


def _changes(panels: _Panels, parts: _Panels) -> tuple[Array, Array]:
    """How much the parts of each panel differ from the whole, and how much of it is noise, both (powers, K, M)."""
    shape = *panels.integrals.shape, _PARTS
    with np.errstate(invalid="ignore"):
        change = np.abs(panels.integrals - parts.integrals.reshape(shape).sum(axis=-1))
        change += parts.doubts.reshape(shape).sum(axis=-1)
        return change.sum(axis=2), parts.noise.reshape(shape).sum(axis=(2, -1))


def _joined(parts: list[_Panels], errors: Array, sizes: Array) -> Grid:
    """One grid from the panels that were finished at each depth."""

    def both(signs: tuple[float, float], arrays: list[Array]) -> Array:
        flat = np.concatenate([array.ravel() for array in arrays])
        return np.concatenate((signs[0] * flat, signs[1] * flat))

    widths = [np.broadcast_to((part.high - part.low)[:, None], part.points.shape) for part in parts]
    values = np.concatenate([part.values for part in parts], axis=2)
    return Grid(
        points=both((1, -1), [part.points for part in parts]),
        weights=both((1, 1), [part.weights for part in parts]),
        values=values.reshape(len(values), -1),
        errors=errors,
        sizes=sizes,
        widths=both((1, 1), widths),
    )

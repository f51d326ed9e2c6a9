"""Distributions of initial values, and how each is made from 32 random bits."""

import math
from dataclasses import dataclass

import torch

from onesigma._errors import ConfigError

__all__ = ["Distribution", "Normal", "Plan", "TruncatedNormal", "Uniform"]

CELLS = 1 << 32
"""Cells of equal probability that 32 bits tell apart."""

_FEWEST_CELLS = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One draw in numbers: base value of the mapped bits · scale + offset, clamped to [minimum, maximum].

    Attributes:
        normal: The base value is a standard normal, else a uniform in [0, 1).
        first: First of the 2³² cells that are drawn from.
        num_cells: How many cells from there; 2³² is all of them.
        scale: Std, or width.
        offset: Mean, or lower bound.
        minimum: Smallest value that the dtype may hold here.
        maximum: Largest value that the dtype may hold here.
        window: Bounds in σ of a truncated normal whose window is too thin for cells; see `TruncatedNormal`.
    """

    normal: bool
    first: int = 0
    num_cells: int = CELLS
    scale: float
    offset: float
    minimum: float = -math.inf
    maximum: float = math.inf
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Uniform:
    """U[low, high): the multiples of 2⁻²⁴ in [0, 1), times high − low, plus low.

    Example:
        >>> Uniform(-1.0, 1.0)
        Uniform(low=-1.0, high=1.0)
    """

    low: float = 0.0
    high: float = 1.0

    def plan(self, dtype: torch.dtype) -> Plan:
        """How to draw it for tensors of this dtype."""
        low, high = _finite("uniform", low=self.low, high=self.high)
        if low > high:
            raise ConfigError(f"a uniform needs low ≤ high, got low {low} and high {high}; swap them.")
        minimum, maximum = _representable(low, high, dtype=dtype, below=True)
        return Plan(normal=False, scale=high - low, offset=low, minimum=minimum, maximum=maximum)


@dataclass(frozen=True, slots=True)
class Normal:
    """N(mean, std²), by the inverse of its distribution function; at most 6.34 std from the mean.

    Example:
        >>> Normal(std=0.02)
        Normal(mean=0.0, std=0.02)
    """

    mean: float = 0.0
    std: float = 1.0

    def plan(self, dtype: torch.dtype) -> Plan:
        """How to draw it for tensors of this dtype."""
        mean, std = _finite("normal", mean=self.mean, std=self.std)
        return Plan(normal=True, scale=_nonnegative(std), offset=mean)


@dataclass(frozen=True, slots=True)
class TruncatedNormal:
    """N(mean, std²) given that it lies in [low, high], by the inverse of its distribution function: none is rejected.

    Windows of less than 2⁻¹² of the probability are drawn in double precision on the CPU, so they keep their
    resolution however thin or far out they are.

    Attributes:
        mean: Mean before the truncation.
        std: Std before the truncation; see `truncated_std` for the one after.
        low: Smallest value, in absolute numbers.
        high: Largest value, in absolute numbers.

    Example:
        >>> TruncatedNormal(std=0.02, low=-0.04, high=0.04)
        TruncatedNormal(mean=0.0, std=0.02, low=-0.04, high=0.04)
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -2.0
    high: float = 2.0

    def plan(self, dtype: torch.dtype) -> Plan:
        """How to draw it for tensors of this dtype."""
        mean, std = _finite("truncated normal", mean=self.mean, std=self.std)
        low, high = self.low, self.high
        if not low <= high or _nonnegative(std) == 0:
            raise ConfigError(
                f"a truncated normal needs std > 0 and low ≤ high, got std {std}, low {low}, high {high}."
            )
        alpha, beta = (low - mean) / std, (high - mean) / std
        first = round(CELLS * _below(alpha))
        num_cells = round(CELLS * _below(beta)) - first
        minimum, maximum = _representable(low, high, dtype=dtype, below=False)
        thin = num_cells < _FEWEST_CELLS
        return Plan(
            normal=True,
            first=0 if thin else first,
            num_cells=CELLS if thin else num_cells,
            scale=std,
            offset=mean,
            minimum=minimum,
            maximum=maximum,
            window=(alpha, beta) if thin else None,
        )


Distribution = Uniform | Normal | TruncatedNormal


def _below(z: float) -> float:
    """Φ(z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _finite(name: str, **values: float) -> list[float]:
    for argument, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(
                f"a {name} needs a finite {argument}, got {value}; check the gain and the fan it is made of."
            )
    return [float(value) for value in values.values()]


def _nonnegative(std: float) -> float:
    if std < 0:
        raise ConfigError(f"std must not be negative, got {std}.")
    return std


def _representable(low: float, high: float, *, dtype: torch.dtype, below: bool) -> tuple[float, float]:
    """The smallest and the largest number of the dtype in [low, high], or in [low, high) if `below`."""
    edges = torch.tensor([low, high], dtype=torch.float64).to(dtype)
    minimum, maximum = (float(edge) for edge in edges.double())
    if minimum < low:
        minimum = float(_next(edges[0], math.inf))
    if maximum > high or (below and maximum == high):
        maximum = float(_next(edges[1], -math.inf))
    # Equal bounds, or bounds between two neighbors of the dtype: there is one value to give.
    return (minimum, maximum) if minimum <= maximum else (float(edges[0].double()),) * 2


def _next(value: torch.Tensor, towards: float) -> torch.Tensor:
    return torch.nextafter(value, torch.tensor(towards, dtype=value.dtype))

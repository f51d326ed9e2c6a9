"""Why running statistics differ from those of the data: decided by standard errors."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

__all__ = ["Evidence", "cause_of"]

_LARGE_NOISE = 0.25
_LARGE_EPS = 0.1
# Float32 keeps seven digits of a statistic.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Evidence:
    """What was seen of one layer, per channel, in float64.

    Attributes:
        running_mean: As the layer has it.
        running_var: As the layer has it.
        eps: As the layer has it.
        momentum: As the layer has it; None for the mean of all updates.
        updates: `num_batches_tracked`; None where it is not counted.
        sample_means: (N, C): the mean of each sample.
        sample_squares: (N, C): the mean of each sample's squared distances from the mean of all values.
        sizes: Samples per call.
        values: Values per channel of all calls.
        ghost_size: Samples that are normalized together, where the layer takes a batch apart.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    eps: float
    momentum: float | None
    updates: int | None
    sample_means: torch.Tensor
    sample_squares: torch.Tensor
    sizes: tuple[int, ...]
    values: int
    ghost_size: int | None = None

    @cached_property
    def mean(self) -> torch.Tensor:
        """The data's."""
        return self.sample_means.mean(0)

    @cached_property
    def variance(self) -> torch.Tensor:
        """The data's, over values − 1."""
        return self.sample_squares.mean(0) * (self.values / max(self.values - 1, 1))

    @cached_property
    def std(self) -> torch.Tensor:
        """√(var + eps), by which the layer divides."""
        return (self.variance + self.eps).sqrt()

    @cached_property
    def mean_error(self) -> torch.Tensor:
        """Standard error of the mean: over samples, since values of one sample may be alike."""
        error = _spread(self.sample_means) / math.sqrt(len(self.sample_means))
        return error + _ROUNDING * (self.std + self.mean.abs())

    @cached_property
    def log_error(self) -> torch.Tensor:
        """Standard error of log (var + eps)."""
        error = _spread(self.sample_squares) / math.sqrt(len(self.sample_squares))
        return error / (self.variance + self.eps) + _ROUNDING

    @cached_property
    def batch_size(self) -> float:
        """Samples per call, on average."""
        return len(self.sample_means) / len(self.sizes)

    @property
    def is_finite(self) -> bool:
        """Whether neither side holds NaN or infinity."""
        sides = (self.running_mean, self.running_var, self.sample_means, self.sample_squares)
        return all(bool(side.isfinite().all()) for side in sides)

    def mean_gap(self) -> float:
        """√ mean over channels of the squared distance of the means, in stds."""
        return float(((self.running_mean - self.mean) / self.std).square().mean().sqrt())

    def log_ratios(self) -> torch.Tensor:
        """log (running_var + eps) / (var + eps)."""
        return ((self.running_var + self.eps) / (self.variance + self.eps)).clamp_min(1e-300).log()

    def widening(self, noise: float) -> float:
        """Errors of the running statistics and the data's over the data's; `noise` as in `differs`."""
        # A batch scatters like the whole, √(N / batch size) times as wide.
        return math.sqrt(1 + noise * len(self.sample_means) / self.batch_size)

    def differs(self, *, start: float = 0.0, noise: float = 0.0) -> bool:
        """Whether the running statistics are beyond chance from the data's.

        Args:
            start: Share of 0 and 1, their first values, that is taken out of them before.
            noise: Variance of the running mean in units of that of one batch's.
        """
        kept = 1 - start
        mean, variance = self.running_mean / kept, ((self.running_var - start) / kept).clamp_min(0)
        widening = self.widening(noise / kept**2)
        logs = ((variance + self.eps) / (self.variance + self.eps)).clamp_min(1e-300).log()
        distances = torch.cat([(mean - self.mean) / self.mean_error, logs / self.log_error]).abs() / widening
        return float(distances.max()) > math.sqrt(2 * math.log(2 * len(self.mean))) + 3


def cause_of(seen: Evidence) -> str:
    """The first cause that fits; "none" where the numbers agree and batches are of a size that training can use."""
    if not seen.is_finite:
        return "non-finite"
    if seen.differs():
        return _cause_of_difference(seen)
    if _batches_differ(seen):
        return "domain shift"
    if _looks_biased(seen):
        return "bessel"
    if float((seen.eps / (seen.variance + seen.eps)).median()) > _LARGE_EPS:
        return "eps"
    return "batch noise" if _batch_noise(seen) > _LARGE_NOISE else "none"


def _cause_of_difference(seen: Evidence) -> str:
    if not seen.running_mean.any() and bool((seen.running_var == 1).all()):
        return "never updated"
    if _looks_biased(seen):
        return "bessel"
    updates = seen.updates or 0
    if seen.momentum is None:
        start, noise = 0.0, 1 / max(updates, 1)
    else:
        start, noise = (1 - seen.momentum) ** updates, seen.momentum / (2 - seen.momentum)
    if updates and 1e-4 < start < 1 and seen.differs(noise=noise) and not seen.differs(start=start, noise=noise):
        return "ema lag"
    if _looks_biased(seen, noise=noise):
        return "bessel"
    return "domain shift" if seen.differs(noise=noise) else "batch noise"


def _looks_biased(seen: Evidence, *, noise: float = 0.0) -> bool:
    """Whether running_var is smaller than the variance by (n − 1)/n, n values per call, and by nothing else."""
    wide = seen.widening(noise)
    per_call = seen.values / len(seen.sizes)
    if per_call < 2:
        return False
    expected, found = math.log((per_call - 1) / per_call), float(seen.log_ratios().mean())
    # Channels may move together, so their errors are not assumed to average out.
    certain = abs(found) > 3 * wide * float(seen.log_error.mean()) and abs(found - expected) < abs(expected) / 3
    means_agree = float(((seen.running_mean - seen.mean) / seen.mean_error).abs().max()) < 6 * wide
    return certain and means_agree


def _batch_means(seen: Evidence) -> torch.Tensor:
    return torch.stack([part.mean(0) for part in torch.split(seen.sample_means, list(seen.sizes))])


def _batches_differ(seen: Evidence) -> bool:
    """Whether the means of batches scatter more than samples drawn at random into them would."""
    if len(seen.sizes) < 2:
        return False
    sizes = torch.tensor(seen.sizes, dtype=torch.float64).unsqueeze(1)
    between = (sizes * (_batch_means(seen) - seen.mean).square()).sum(0) / (len(seen.sizes) - 1)
    within = _spread(seen.sample_means).square() + (_ROUNDING * seen.std).square()
    # A mean of chi-squares over their degrees: 1 ± √(2 / degrees) by chance.
    return float((between / within).max()) > 1 + 6 * math.sqrt(2 / (len(seen.sizes) - 1)) + 2 * math.log(len(seen.mean))


def _batch_noise(seen: Evidence) -> float:
    """Scatter of the mean of what is normalized together, in stds."""
    parts = 1 if seen.ghost_size is None else max(seen.batch_size // seen.ghost_size, 1)
    return float((_spread(seen.sample_means) / seen.std).square().mean().sqrt()) / math.sqrt(seen.batch_size / parts)


def _spread(values: torch.Tensor) -> torch.Tensor:
    """Std over samples; of one sample, nothing is known, and all is possible."""
    return values.std(0) if len(values) > 1 else torch.full_like(values[0], math.inf)

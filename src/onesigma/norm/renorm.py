"""`renorm_`: Batch Renormalization, which trains with what inference will see, as far as that is safe."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onesigma._errors import ConfigError
from onesigma.model.edits import Edits
from onesigma.norm.running import is_traced, normalized, weight_and_bias
from onesigma.norm.statistics import BatchNorm
from onesigma.norm.variants import Variant, convert_

__all__ = ["BatchRenorm", "RenormLimits", "renorm_"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenormLimits:
    """How far r and d may go, by the number of batches that a layer has seen.

    For `warmup` batches r = 1 and d = 0, which is BatchNorm; then the limits grow linearly, that of r from 1 to `r_max`
    at `r_full` batches, that of d from 0 to `d_max` at `d_full`. The defaults are those of the paper.

    Example:
        >>> limits = RenormLimits()
        >>> limits.at(5_000), limits.at(25_000), limits.at(100_000)
        ((1.0, 0.0), (2.142857142857143, 5.0), (3.0, 5.0))
    """

    r_max: float = 3.0
    d_max: float = 5.0
    warmup: int = 5_000
    r_full: int = 40_000
    d_full: int = 25_000

    def __post_init__(self) -> None:
        if not (self.r_max >= 1 and self.d_max >= 0 and 0 <= self.warmup <= min(self.r_full, self.d_full)):
            raise ConfigError(f"wanted r_max ≥ 1, d_max ≥ 0 and 0 ≤ warmup ≤ r_full, d_full; got {self}.")

    def at(self, num_batches: int) -> tuple[float, float]:
        """The limits of r and d after so many batches."""
        return (
            1 + (self.r_max - 1) * _ramp(num_batches, self.warmup, full=self.r_full),
            self.d_max * _ramp(num_batches, self.warmup, full=self.d_full),
        )

    def of_tensor(self, num_batches: Tensor) -> tuple[Tensor, Tensor]:
        """`at`, of a number that is not looked at."""
        ramps = [
            torch.where(num_batches >= full, 1.0, (num_batches - self.warmup).clamp_min(0) / max(full - self.warmup, 1))
            for full in (self.r_full, self.d_full)
        ]
        return 1 + (self.r_max - 1) * ramps[0], self.d_max * ramps[1]


def _ramp(at: int, start: int, *, full: int) -> float:
    return 1.0 if at >= full else max(at - start, 0) / (full - start)


class BatchRenorm(Variant, BatchNorm):
    """Batch Renormalization: (x − mean)/std·r + d in training, by the running statistics in eval.

    r = clip(std/running_std, 1/r_max, r_max) and d = clip((mean − running_mean)/running_std, −d_max, d_max) are
    constants to the gradient; std² = var + eps. Where nothing is clipped, training gives what eval gives. With r = 1
    and d = 0 it is `nn.BatchNorm`, bit for bit. Unlike in the paper the running statistics are those of
    `nn.BatchNorm` (variances, Bessel's correction), so that the state dict and eval mode are its own; so is the
    counter, from which the limits follow.

    Shapes: (N, C, …) → (N, C, …).

    Args:
        num_features: C.
        limits: When r and d may go how far.
        **options: Those of `nn.BatchNorm1d`.

    Example:
        >>> norm = BatchRenorm(1, limits=RenormLimits(warmup=0, r_full=0, d_full=0))
        >>> [round(y, 3) for y in norm(torch.tensor([[1.0], [3.0]])).flatten().tolist()]  # r = 1, d = 2
        [1.0, 3.0]

    Reference: Ioffe 2017, https://arxiv.org/abs/1702.03275
    """

    attributes = ("limits",)
    limits: RenormLimits

    def __init__(self, num_features: int, *, limits: RenormLimits | None = None, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.limits = limits or RenormLimits()

    def forward(self, input: Tensor) -> Tensor:
        """Normalize by the batch, corrected towards the running statistics, in training."""
        self._check_input_dim(input)
        weight, bias = weight_and_bias(self)
        if self.training:
            weight, bias = self.corrected(input, weight, bias)
        return normalized(self, input, weight=weight, bias=bias)

    def corrected(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        """γ·r and β + γ·d for a batch: what training takes for γ and β at this count of batches."""
        r_max, d_max = self._present_limits() if input.numel() else (1.0, 0.0)
        if isinstance(r_max, Tensor) or (r_max, d_max) != (1.0, 0.0):
            r, d = self._corrections(input.detach(), r_max=r_max, d_max=d_max)
            offset = d if weight is None else weight * d
            weight = r if weight is None else weight * r
            bias = offset if bias is None else bias + offset
        return weight, bias

    def _present_limits(self) -> tuple[Any, Any]:
        """Those of r and d, as tensors in a graph."""
        if not (self.track_running_stats and self.num_batches_tracked is not None):
            return 1.0, 0.0
        if is_traced():
            return self.limits.of_tensor(self.num_batches_tracked)
        return self.limits.at(int(self.num_batches_tracked))

    @torch.no_grad()
    def _corrections(self, input: Tensor, *, r_max: Any, d_max: Any) -> tuple[Tensor, Tensor]:
        assert self.running_mean is not None
        assert self.running_var is not None
        # Of halves it would give halves.
        wide = input.to(torch.promote_types(input.dtype, self.running_var.dtype))
        mean, variance = torch.batch_norm_update_stats(wide, None, None, 0.0)
        running_std = (self.running_var + self.eps).sqrt()
        r = ((variance + self.eps).sqrt() / running_std).clamp(1 / r_max, r_max)
        d = ((mean - self.running_mean) / running_std).clamp(-d_max, d_max)
        return r, d

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"BatchRenorm: wanted an input (N, C, …), got shape {tuple(input.shape)}.")


def renorm_(model: nn.Module, *, limits: RenormLimits | None = None) -> Edits:
    """Let every BatchNorm of a model be a `BatchRenorm`; for small batches, or batches that are not alike.

    A layer keeps its class as a base, its parameters, buffers, hooks and state-dict keys; `plain_` or `undo` puts the
    change off. Refused are subclasses that compute their normalization by themselves.

    Warns:
        NoEffectWarning: No layer could be changed.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> [edit.action for edit in renorm_(model, limits=RenormLimits(warmup=100))]
        ['renorm']
    """
    return convert_(model, BatchRenorm, action="renorm", limits=limits or RenormLimits())

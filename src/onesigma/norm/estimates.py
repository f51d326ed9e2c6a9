"""Population statistics of BatchNorm inputs: measured over all batches and ranks, and written to the buffers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from onesigma._errors import BatchError, CaptureError
from onesigma.norm.channels import Channels
from onesigma.norm.statistics import BatchNorm, Forward, Statistics, run_all

__all__ = ["Estimate", "Readout", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one layer was fed with.

    Attributes:
        channels: The exact moments of its channels.
        calls: How often it ran.
        num_samples: Rows of all batches.
        num_batches: How many these were.
        within: Σ over calls of squared distances from the call's mean, per channel; None if not asked for.
        degrees: Σ over calls of values per channel − 1.
    """

    channels: Channels
    calls: int
    num_samples: int
    num_batches: int = 0
    within: torch.Tensor | None = None
    degrees: int = 0

    def merge(self, other: "Estimate") -> "Estimate":
        """Both parts of the data together."""
        return Estimate(
            channels=self.channels.merge(other.channels),
            calls=self.calls + other.calls,
            num_samples=self.num_samples + other.num_samples,
            num_batches=self.num_batches + other.num_batches,
            within=None if self.within is None or other.within is None else self.within + other.within,
            degrees=self.degrees + other.degrees,
        )

    def read(self) -> "Readout":
        """The numbers, each rounded once."""
        reading = self.channels.read(correction=1)
        means, variances = torch.from_numpy(reading.mean), torch.from_numpy(reading.variance)
        if self.within is not None:
            variances = self.within.cpu() / max(self.degrees, 1)
        return Readout(
            means,
            variances,
            count=int(reading.counts.min()),
            nonfinite=int(reading.nonfinite.sum()),
            calls=self.calls,
            samples=self.num_samples,
            batches=self.num_batches,
        )


@dataclass(frozen=True, slots=True)
class Readout:
    """Mean and variance (divided by n − 1) of each channel in float64, and of how many values."""

    mean: torch.Tensor
    variance: torch.Tensor
    count: int = 0
    nonfinite: int = 0
    calls: int = 0
    samples: int = 0
    batches: int = 0

    @property
    def standard_error(self) -> float:
        """Of a mean, in stds: 1/√samples, as if all values that one sample gives to a channel were one."""
        return 1 / math.sqrt(max(self.samples or self.calls, 1))

    def distance(self, running_mean: torch.Tensor, *, eps: float) -> float:
        """Largest |running_mean − mean| over the channels, in √(var + eps)."""
        return _largest((_wide(running_mean) - self.mean).abs() / (self.variance + eps).sqrt())

    def variance_ratio(self, running_var: torch.Tensor, *, eps: float) -> float:
        """(running_var + eps) / (var + eps) of the channel where it is farthest from 1."""
        ratio = (_wide(running_var) + eps) / (self.variance + eps)
        return float(ratio[ratio.clamp_min(1e-300).log().abs().nan_to_num(nan=math.inf).argmax()])

    def reason_against(self, norm: BatchNorm) -> str:
        """Why these numbers must not become running statistics; empty where they may."""
        if self.nonfinite:
            return f"{self.nonfinite} of its inputs are NaN or infinite"
        if self.count < 2:
            return "it saw one value per channel, which has no variance"
        assert norm.running_var is not None
        written = torch.cat([self.mean, self.variance]).to(norm.running_var.dtype)
        if not written.isfinite().all():
            return (
                f"its statistics do not fit {str(norm.running_var.dtype).removeprefix('torch.')}; keep them in float32"
            )
        return ""

    def write(self, norm: BatchNorm) -> None:
        """Set the buffers."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            norm.running_mean.copy_(self.mean)
            norm.running_var.copy_(self.variance)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.fill_(self.calls)


def estimated(
    model: nn.Module,
    items: Iterable[Any],
    norms: Mapping[str, BatchNorm],
    *,
    by: Literal["batch", "running", "nothing"] = "batch",
    within: bool = False,
    forward: Forward | None = None,
    group: Any = None,
    tolerance: float = 0.0,
) -> dict[str, Estimate]:
    """What the layers are fed with over all items, in order of first execution; see `Statistics`.

    With a tolerance, no further than to the batch at which 1/√samples, over all ranks, falls below it. A rank without
    batches adds nothing.
    """
    statistics, samples, batches = Statistics(norms, by=by, within=within), 0, 0
    ranks = 1 if group is None else dist.get_world_size(group)
    failure: Exception | None = None
    try:
        with statistics:
            for _, batch in run_all(model, items, forward=forward, enough=_enough(tolerance) / ranks):
                samples += batch.num_samples
                batches += 1
    except Exception as error:
        failure = None if group is not None and isinstance(error, BatchError) and not batches else error
    found = {
        name: Estimate(
            channels=channels,
            calls=statistics.calls[name],
            num_samples=samples,
            num_batches=batches,
            within=None if statistics.within is None else statistics.within[name],
            degrees=statistics.degrees[name],
        )
        for name, channels in statistics.found.items()
    }
    if group is not None:
        found = _merged(None if failure else found, group=group)
    if failure is not None:
        raise failure
    return found


def _merged(mine: dict[str, Estimate] | None, *, group: Any) -> dict[str, Estimate]:
    """The estimates of all ranks, the same bits on each; every rank gets here, also one that failed."""
    for estimate in (mine or {}).values():
        estimate.channels.settle()
    parts: list[dict[str, Estimate] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(parts, mine, group=group)
    failed = [rank for rank, part in enumerate(parts) if part is None]
    if failed and mine is not None:
        raise CaptureError(f"The model raised on ranks {failed}; nothing of the model was changed on any.")
    merged: dict[str, Estimate] = {}
    for part in filter(None, parts):
        for name, estimate in part.items():
            merged[name] = merged[name].merge(estimate) if name in merged else estimate
    if not merged:
        raise BatchError("The batches are empty on every rank: at least one batch is needed.")
    return merged


def _enough(tolerance: float) -> float:
    return 1 / tolerance**2 if tolerance else math.inf


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().double()


def _largest(values: torch.Tensor) -> float:
    return float(values.nan_to_num(nan=math.inf).max()) if values.numel() else 0.0

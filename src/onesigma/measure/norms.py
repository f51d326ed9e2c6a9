"""Batch norms: their running statistics against what they read, channel by channel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from onesigma.model.capture import Site
from onesigma.model.kernel import channel_moments

__all__ = ["NormSite", "norm_facts", "norm_row"]

# Of more values than these, every k-th row of a map is looked at; every sample and channel is.
_MOST_VALUES = 1 << 18


@dataclass(frozen=True, slots=True)
class NormSite:
    """What is known of a batch norm besides the numbers of its channels.

    Attributes:
        training: It normalizes by the batch.
        momentum: Weight of the new batch; None where nothing is tracked.
        eps: Added to the variance.
    """

    training: bool
    momentum: float | None
    eps: float


def norm_row(site: Site) -> tuple[NormSite, torch.Tensor | None] | None:
    """Running mean, running variance, mean and variance of the batch per channel, then the number of updates before.

    None for anything but a batch norm; no row where nothing is tracked.
    """
    given, signal = site.arguments, site.arguments.get("input")
    if site.call.op != "batch_norm" or not isinstance(signal, torch.Tensor) or signal.dim() < 2:
        return None
    training = bool(given.get("training", site.call.training))
    # A module with momentum None hands its function 1/n: a plain mean, in which nothing is left of the start.
    momentum = getattr(site.module, "momentum", given.get("momentum"))
    known = NormSite(training, momentum, float(given.get("eps") or 0.0))
    running = [buffer for buffer in (given.get("running_mean"), given.get("running_var")) if buffer is not None]
    if len(running) < 2 or not signal.numel():
        return known, None
    tracked = getattr(site.module, "num_batches_tracked", None)
    # The module counts its batch before it calls the function that this row is of.
    updates = tracked.reshape(1) - int(training) if isinstance(tracked, torch.Tensor) else signal.new_full((1,), -1)
    with torch.no_grad():
        mean, var = _mean_and_var(_thinned(signal.detach()))
        rows = [part.detach().to(mean).reshape(-1) for part in (*running, mean, var, updates)]
        return known, torch.cat(rows)


def _mean_and_var(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Per channel, the variance as torch averages it: by n − 1."""
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    count = values.numel() // values.shape[1]
    if values.device.type != "cpu":
        axes = [axis for axis in range(values.dim()) if axis != 1]
        var, mean = torch.var_mean(values, dim=axes, correction=int(count > 1))
        return mean, var
    in_order = values.reshape(*values.shape[:2], -1).contiguous()
    mean, squares = torch.from_numpy(channel_moments(in_order.numpy()))
    return mean, squares / max(count - 1, 1)


def _thinned(values: torch.Tensor) -> torch.Tensor:
    step = math.ceil(values.numel() / _MOST_VALUES)
    return values[:, :, ::step] if values.dim() > 2 and step > 1 else values


def norm_facts(known: NormSite, row: np.ndarray | None) -> Mapping[str, float | int | bool]:
    """The facts that a record carries.

    With m, v the mean and variance of the batch, r, s the running ones and eps added to both variances:
    `mean_gap` is √ mean over channels of (r − m)²/v, `var_gap` √ mean of ln²(s/v), `var_ratio` the geometric mean of
    s/v, `updates` how many batches were averaged (−1 where nobody counted), and `start_left` what is left in the
    average of its start (0, 1) after these. Channels without any variance are left out.
    """
    facts: dict[str, float | int | bool] = {"training": known.training}
    if row is None:
        return facts
    running_mean, running_var, mean, var = row[:-1].reshape(4, -1)
    updates = int(row[-1])
    if updates >= 0:
        left = 0.0 if known.momentum is None else (1 - known.momentum) ** updates
        facts |= {"updates": updates, "start_left": left if updates else 1.0}
    is_judged = np.isfinite(row[:-1].reshape(4, -1)).all(0) & (var > 0) & (running_var + known.eps > 0)
    if not is_judged.any():
        return facts
    wide = var[is_judged] + known.eps
    logs = np.log((running_var[is_judged] + known.eps) / wide)
    gaps = (running_mean[is_judged] - mean[is_judged]) ** 2 / wide
    return facts | {
        "mean_gap": float(np.sqrt(gaps.mean())),
        "var_gap": float(np.sqrt((logs * logs).mean())),
        "var_ratio": float(np.exp(logs.mean())),
    }

"""Pools and reductions: how the values that are put together go with one another decides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.laws import Function, moments_through
from onesigma.model.prediction.rules.linear import grid_sites
from onesigma.model.prediction.signal import Average, Signal, axis_role, identity
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["POOLS", "bagged", "mean_over", "reduced_axes", "reduced_sites"]

_DRAWS = 8192
_KINDS, _ENDS = ("", "adaptive_"), ("", "_with_indices")
_AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _axes(x: Signal, op: str) -> int:
    count = int(next(letter for letter in op if letter.isdigit()))
    if x.base_mean.dim() != count + 2:
        raise Unpredictable(f"{op}: an input without an axis of samples")
    return count


def _per_axis(value: Any, count: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    return values * count if len(values) == 1 else values


@cache
def _maximum_nodes(correlations: tuple[float, ...], size: int) -> tuple[tuple[float, float], ...]:
    """Equally likely values of the maximum of standard normals with these correlations, by fixed draws."""
    matrix = torch.tensor(correlations, dtype=torch.float64).reshape(size, size)
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root = vectors * values.clamp(min=0).sqrt()
    draws = torch.randn(_DRAWS, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    draws = torch.cat([draws, -draws])
    largest = (draws @ root.T).amax(-1).sort().values
    means = largest.reshape(64, -1).mean(-1)
    # Means of bins vary less than what is in them, most of all in the tails.
    stretch = largest.std(correction=0) / means.std(correction=0)
    center = means.mean()
    return tuple((float(center + (value - center) * stretch), 1 / 64) for value in means)


def _maximum(step: Step) -> Signal | list[Signal]:
    """Of an increasing function of a normal signal the maximum is that of the signal."""
    x = step.signal()
    count = _axes(x, step.call.op)
    adaptive = "adaptive" in step.call.op
    size, stride = _windows_of(step, x)
    if any(dilation != 1 for dilation in _per_axis(step.arguments.get("dilation", 1), count)):
        raise Unpredictable("max pooling with dilation")
    kernel = x.kernel.on(*x.shape[2:])
    mean, spread = _window_means(step, x)
    padding = _per_axis(0 if adaptive else step.arguments.get("padding", 0), count)
    windows = None if adaptive else _cut(x.shape[2:], mean.shape[2:], size=size, stride=stride, padding=padding)
    moments = _of_windows(x, mean, spread, windows=windows or [(size, None)])
    smooth = kernel.smoothed(size)[0].resized(stride, mean.shape[2:])
    return Signal(base_mean=moments[0], base_var=moments[1], sites=grid_sites(mean.shape), kernel=smooth)


def _windows_of(step: Step, x: Signal) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Extent and stride of the windows."""
    count = x.base_mean.dim() - 2
    if "adaptive" in step.call.op:
        stride = tuple(a / b for a, b in zip(x.shape[2:], step.shapes[0][2:], strict=True))
        return tuple(max(1, round(ratio)) for ratio in stride), stride
    size = _per_axis(step.arguments["kernel_size"], count)
    return size, _per_axis(step.arguments.get("stride") or size, count)


def _nodes_of(kernel: Kernel, extents: Sequence[int]) -> tuple[tuple[float, float], ...]:
    correlations = kernel.window(extents)
    return _maximum_nodes(tuple(round(float(value), 2) for value in correlations.reshape(-1)), len(correlations))


_Windows = list[tuple[tuple[int, ...], tuple[torch.Tensor, ...] | None]]


def _cut(
    before: Sequence[int], after: Sequence[int], *, size: Sequence[int], stride: Sequence[float], padding: Sequence[int]
) -> _Windows:
    """Extents that windows have inside the map, with the places along each axis where they have them."""
    axes: list[dict[int, list[int]]] = []
    for old, new, extent, step, pad in zip(before, after, size, stride, padding, strict=True):
        places: dict[int, list[int]] = {}
        for place in range(new):
            start = int(place * step) - pad
            places.setdefault(min(start + extent, old) - max(start, 0), []).append(place)
        axes.append(places)
    return [
        (tuple(extents), tuple(torch.tensor(places[extent]) for places, extent in zip(axes, extents, strict=True)))
        for extents in product(*axes)
    ]


def _of_windows(
    x: Signal, mean: torch.Tensor, var: torch.Tensor, *, windows: _Windows
) -> tuple[torch.Tensor, torch.Tensor]:
    """Moments of the maxima: a window that the border cuts has fewer values, so a smaller maximum."""
    kernel = x.kernel.on(*x.shape[2:])
    function: Function = x.function or (lambda value: value)
    first, second = torch.empty_like(mean), torch.empty_like(mean)
    for extents, places in windows:
        nodes = _nodes_of(kernel, extents)
        if places is None:
            return moments_through(function, mean, var, nodes=nodes)
        index: tuple[Any, ...] = (..., *torch.meshgrid(*places, indexing="ij"))
        first[index], second[index] = moments_through(function, mean[index], var[index], nodes=nodes)
    return first, second


def _window_means(step: Step, x: Signal) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the base over each window, and its variance together with what the means differ by."""
    mean = _evenly(step, x.base_mean)
    between = (_evenly(step, x.base_mean.square()) - mean.square()).clamp(min=0)
    return mean, _evenly(step, x.base_var) + between


def _evenly(step: Step, value: torch.Tensor) -> torch.Tensor:
    """The mean over each window of a max pool, whatever the window holds of padding."""
    count = value.dim() - 2
    if "adaptive" in step.call.op:
        average: Any = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[count]
        made: torch.Tensor = average(value, tuple(step.shapes[0][2:]))
        return made
    size = _per_axis(step.arguments["kernel_size"], count)
    padding = _per_axis(step.arguments.get("padding", 0), count)
    stride = _per_axis(step.arguments.get("stride") or size, count)
    return _AVERAGES[count](
        value, size, stride, padding, ceil_mode=bool(step.arguments.get("ceil_mode", False)), count_include_pad=False
    )


def _mean(step: Step) -> Signal:
    x = step.signal()
    axes, keepdim = reduced_axes(step)
    made = mean_over(x.plain, axes, keepdim=keepdim)
    if len(axes) != 1 or axis_role(x.sites, axes[0], num_positions=x.kernel.num_positions) != "feature":
        return made
    lift = torch.zeros(()) if x.lift is None else x.lift.mean(axes, keepdim=keepdim)
    # A sample that is larger than others is so in all of its features.
    var = torch.maximum(made.base_var, lift.square()) if x.seen else made.base_var + lift.square()
    made = replace(made, base_var=var)
    mean, std = float(made.mean.mean()), math.sqrt(max(float(made.var.mean()), 0.0))
    average = Average(x.key, x.function or identity, x.shape[axes[0]], mean, std, float(lift.mean()))
    return replace(made, average=average)


def _sum(step: Step) -> Signal:
    x = step.signal().plain
    axes, keepdim = reduced_axes(step)
    return mean_over(x, axes, keepdim=keepdim).scaled(float(math.prod(x.shape[axis] for axis in axes)))


def reduced_axes(step: Step) -> tuple[tuple[int, ...], bool]:
    """Axes that a call reduces, and whether they stay with one element."""
    dims = step.signal().base_mean.dim()
    axes = step.arguments.get("dim", step.arguments.get("axis"))
    chosen = range(dims) if axes is None or axes == () else axes if isinstance(axes, (tuple, list)) else (axes,)
    keepdim = bool(step.arguments.get("keepdim", step.arguments.get("keepdims", step.arguments.get("2", False))))
    return tuple(sorted(int(axis) % dims for axis in chosen)), keepdim


def mean_over(x: Signal, axes: tuple[int, ...], *, keepdim: bool) -> Signal:
    """The mean over features is one of independent values, over positions one of values that go together."""
    mean = x.base_mean.mean(axes, keepdim=keepdim)
    num = math.prod(x.shape[axis] for axis in axes)
    lines = x.sites.movedim(axes, tuple(range(-len(axes), 0))).flatten(-len(axes))
    line = lines.reshape(-1, num)[0]
    distinct, counts = torch.unique(line, return_counts=True)
    features = num / len(distinct)
    step = max(1, len(distinct) // 1024)
    some = distinct[::step]
    together = x.kernel.between(some[:, None], some[None, :])
    if step > 1:  # the diagonal is right in the whole, not in every step-th of it
        own = 1 / len(distinct)
        together = together.fill_diagonal_(0.0)
        shared = float(together.sum()) / (len(some) * (len(some) - 1)) * (1 - own) + own
    else:
        weights = counts.float() / num
        shared = float(weights @ together @ weights)
    var = x.base_var.mean(axes, keepdim=keepdim) * max(shared, 0.0) / features
    sites, kernel = reduced_sites(x, lines, axes=axes, keepdim=keepdim, positions=len(distinct) > 1)
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=kernel)


def reduced_sites(
    x: Signal, lines: torch.Tensor, *, axes: tuple[int, ...], keepdim: bool, positions: bool
) -> tuple[torch.Tensor, Kernel]:
    """Sites and kernel of what is left; `lines` are the sites with the reduced axes last, and as one."""
    rows, kernel = lines[..., 0], x.kernel
    if positions:
        found, rows = torch.unique(rows, return_inverse=True)
        samples = found // kernel.num_positions
        per_sample = int(samples.bincount().max())
        one = Kernel.independent()
        first = found[:per_sample]
        kernel = one if per_sample == 1 else Kernel((per_sample,), x.kernel.between(first[:, None], first[None, :]))
    for axis in axes if keepdim else ():
        rows = rows.unsqueeze(axis)
    return rows, kernel


def bagged(step: Step, rows: Signal) -> Signal:
    """The sum or mean of a sample's rows (N, L, F) of a table."""
    plain = step.arguments.get("offsets") is None and step.arguments.get("per_sample_weights") is None
    mode = str(step.arguments.get("mode", "mean"))
    if not plain or mode == "max":
        raise Unpredictable("an embedding bag with offsets, weights or maxima")
    mean = mean_over(rows, (1,), keepdim=False)
    return mean.scaled(float(rows.shape[1])) if mode == "sum" else mean


POOLS: Mapping[str, Rule] = {
    **{f"{kind}max_pool{n}d{end}": _maximum for kind in _KINDS for n in (1, 2, 3) for end in _ENDS},
    "mean": _mean,
    "sum": _sum,
}

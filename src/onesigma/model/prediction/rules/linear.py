"""Layers with weights: y = Wx + b has mean W·E[x] + b and variance W²·Var[x], element by element, with the real W."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.laws import once
from onesigma.model.prediction.signal import Signal, axis_role
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["LINEAR", "grid_sites", "raw_of"]


_FEW = 16  # inputs of a filter, up to which filters differ by more than their share in a pool tells
_MOST_WORK = 2**29  # multiplications
_APART = 1e-3  # variance of the places that a sum runs over, from which on it does not run over features alone


def _linear(step: Step) -> Signal:
    x, weight, bias = step.signal().plain, step.value("weight"), step.optional("bias")
    if axis_role(x.sites, -1, num_positions=x.kernel.num_positions) == "position":
        return _mixing(x, weight, bias=bias)
    sharper = _from_data(x, weight)

    def moments(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return F.linear(mean, weight, bias), F.linear(var, weight.square()) * sharper

    mean, var = once(moments, x.base_mean, x.base_var)
    together = step.signal().mirror_covariance if step.signal().mirrored == x.base_mean.dim() - 1 else None
    if together is not None:
        first, second = weight.chunk(2, 1)
        var = (var + 2 * F.linear(together, first * second)).clamp(min=0)
    made = _at_rows(x, mean, var)
    mirrored = mean.dim() - 1 if _is_mirrored(weight, bias) else None
    shares = x.shares if x.shares != x.shape[-1] else None
    return replace(made, unevenness=step.signal().unevenness_of_sums, mirrored=mirrored, shares=shares)


def _is_mirrored(weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether the second half of the outputs is minus the first, as `scheme="deep"` draws layers."""
    if weight.shape[0] % 2 or not bool(weight.any()):
        return False
    first, second = weight.chunk(2)
    return torch.equal(first, -second) and (bias is None or torch.equal(bias.chunk(2)[0], -bias.chunk(2)[1]))


def _from_data(x: Signal, weight: torch.Tensor) -> torch.Tensor:
    """Per output, variance with the covariance of the data's features over variance without; 1 behind the input."""
    raw = raw_of(x)
    if raw is None or raw.dim() < 2 or raw.shape[0] < 2 or raw.shape[-1] != weight.shape[-1]:
        return torch.ones(())
    centered = (raw - raw.mean(0)).reshape(-1, raw.shape[-1])
    whole = centered.square().mean(0) @ weight.square().T
    # w·C·w with the covariance C of the features as a product, which stays small for few samples or few features.
    if centered.shape[0] > centered.shape[1]:
        with_covariance = ((weight @ (centered.T @ centered)) * weight).sum(-1) / centered.shape[0]
    else:
        with_covariance = (weight @ centered.T).square().mean(-1)
    return torch.where(whole > 0, with_covariance / whole, torch.ones(()))


def raw_of(x: Signal) -> torch.Tensor | None:
    """The data behind an input, as numbers."""
    return None if x.raw is None else x.raw.float()


def _at_rows(x: Signal, mean: torch.Tensor, var: torch.Tensor) -> Signal:
    """The result of summing over the last axis, which held features, or features of several positions."""
    sites, kernel = x.sites[..., :1], x.kernel.mixed
    if axis_role(x.sites, -1, num_positions=kernel.num_positions) == "mixed":
        sites, kernel = _without_positions(x)
    return Signal(
        base_mean=mean,
        base_var=var,
        sites=sites.expand(mean.shape),
        kernel=kernel,
    )


def _without_positions(x: Signal) -> tuple[torch.Tensor, Kernel]:
    """Sites where positions of the last axis became features: what is left of them stands along the other axes."""
    rows = x.sites[..., 0]
    found, sites = torch.unique(rows, return_inverse=True)
    samples = found // x.kernel.num_positions
    per_sample = int(samples.bincount().max())
    if per_sample == 1:
        return (rows // x.kernel.num_positions).unsqueeze(-1), Kernel.independent()
    correlations = x.kernel.between(found[:per_sample, None], found[None, :per_sample])
    return sites.reshape(rows.shape).unsqueeze(-1), Kernel((per_sample,), correlations)


def _mixing(x: Signal, weight: torch.Tensor, *, bias: torch.Tensor | None) -> Signal:
    """The last axis runs over positions, as where an MLP-Mixer mixes tokens: their correlation counts."""
    line = x.sites.reshape(-1, x.sites.shape[-1])[0]
    correlations = x.kernel.between(line[:, None], line[None, :])
    mixed = weight @ correlations @ weight.T
    ratio = mixed.diagonal() / weight.square().sum(-1).clamp(min=1e-30)
    mean, var = F.linear(x.base_mean, weight, bias), F.linear(x.base_var, weight.square()) * ratio
    scale = mixed.diagonal().clamp(min=1e-30).sqrt()
    num_out = weight.shape[0]
    samples = x.sites[..., :1] // x.kernel.num_positions
    kernel = Kernel((num_out,), mixed / (scale[:, None] * scale[None, :]))
    return Signal(base_mean=mean, base_var=var, sites=samples * num_out + torch.arange(num_out), kernel=kernel)


def _product(step: Step) -> Signal:
    """matmul, einsum, tensordot, addmm of one signal and one weight; sites are those that were summed over."""
    (name, x), *others = [(name, value) for name, value in step.signals.items() if name != "bias"]
    if others:
        raise Unpredictable(f"{step.call.op}: a product of signals")
    x = x.plain
    weights = [key for key in step.known if key not in (name, "bias")]
    if step.call.op in ("matmul", "mm", "bmm") and name == "other" and _over_positions(x):
        return _mixed(x, step.value("input"))
    # Offsets of groups are integers, and no weights.
    values = {key: value for key in weights if (value := step.value(key)).is_floating_point()}
    mean = step.again(**{name: x.base_mean}, **values)
    no_bias = {"bias": torch.zeros(())} if "bias" in step.known else {}
    var = step.again(**{name: x.base_var}, **{key: value.square() for key, value in values.items()}, **no_bias)
    ones = {key: torch.ones_like(value, dtype=torch.float64) for key, value in values.items()}
    plain = {"bias": torch.zeros((), dtype=torch.float64)} if no_bias else {}
    count = step.again(**{name: torch.ones_like(x.sites, dtype=torch.float64)}, **ones, **plain)
    places = step.again(**{name: x.sites.double()}, **ones, **plain) / count
    sites = places.round().long()
    if x.kernel.num_positions > 1:
        apart = step.again(**{name: x.sites.double().square()}, **ones, **plain) / count - places.square()
        if float(apart.max()) > _APART:
            raise Unpredictable(f"{step.call.op} sums over positions")
    unevenness = step.signal(name).unevenness_of_sums
    shares = x.shares if x.shares in mean.shape[-1:] else None
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=x.kernel, unevenness=unevenness, shares=shares)


def _bilinear(step: Step) -> Signal:
    """y = xᵀWz + b."""
    x, z = step.signal("input").plain, step.signal("other").plain
    weight = step.value("weight")
    if x.sites.shape[:-1] != z.sites.shape[:-1]:
        raise Unpredictable("bilinear of rows of different places")
    by_x = torch.einsum("oij,...j->...oi", weight, z.mean).square() @ x.var.unsqueeze(-1)
    by_z = torch.einsum("oij,...i->...oj", weight, x.mean).square() @ z.var.unsqueeze(-1)
    var = by_x[..., 0] + by_z[..., 0] + F.bilinear(x.var, z.var, weight.square())
    return _at_rows(x, F.bilinear(x.mean, z.mean, weight, step.optional("bias")), var)


def _mixed(x: Signal, weight: torch.Tensor) -> Signal:
    """weight @ x where x's last axis but one runs over positions, as where a graph averages neighbors."""
    line = x.sites.select(-1, 0).reshape(-1, x.shape[-2])[0]
    correlations = x.kernel.between(line[:, None], line[None, :])
    size = x.base_var.mean(-1).reshape(-1, x.shape[-2]).mean(0).clamp(min=0).sqrt()
    spread = weight * size
    together = spread @ correlations @ spread.transpose(-1, -2)
    alone = spread.square().sum(-1).clamp(min=1e-30)
    ratio = together.diagonal(dim1=-2, dim2=-1) / alone
    mean, var = weight @ x.base_mean, (weight.square() @ x.base_var) * ratio.clamp(min=0).unsqueeze(-1)
    scale = together.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30).sqrt()
    values = (together / (scale.unsqueeze(-1) * scale.unsqueeze(-2))).reshape(-1, *together.shape[-2:]).mean(0)
    samples = x.sites[..., :1, :1] // x.kernel.num_positions
    rows = weight.shape[-2]
    sites = (samples * rows + torch.arange(rows).unsqueeze(-1)).expand(mean.shape)
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=Kernel((rows,), values.clamp(-1, 1)))


def _over_positions(x: Signal) -> bool:
    return x.base_mean.dim() > 1 and axis_role(x.sites, -2, num_positions=x.kernel.num_positions) == "position"


def _summed_so_far(step: Step) -> Signal:
    """cumsum: a product with a triangle of ones."""
    x = step.signal().plain
    axis = int(step.arguments.get("dim", 0)) % x.base_mean.dim()
    role = axis_role(x.sites, axis, num_positions=x.kernel.num_positions)
    if role != "position" or axis != x.base_mean.dim() - 2:
        raise Unpredictable("cumsum over what is no row of positions")
    return _mixed(x, torch.ones(x.shape[axis], x.shape[axis]).tril())


def _grouped(step: Step) -> Signal:
    """Rows (T, F) sorted by expert, and a weight for each of them (E, F, O)."""
    x, weight = step.signal().plain, step.value("other")
    mean = step.again(input=x.base_mean, other=weight)
    var = step.again(input=x.base_var, other=weight.square())
    return replace(_at_rows(x, mean, var), unevenness=step.signal().unevenness_of_sums)


def _convolution(step: Step) -> Signal:
    x, weight, bias = step.signal().plain, step.value("weight"), step.optional("bias")
    num_axes = weight.dim() - 2
    if x.base_mean.dim() != num_axes + 2:
        raise Unpredictable(f"{step.call.op}: an input without an axis of samples")
    sharper = _from_patches(step, x, weight)
    by_channel = sharper.reshape(-1, *(1 for _ in range(num_axes)))

    def moments(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        squared = step.again(input=var, weight=weight.square(), bias=None)
        return step.again(input=mean, weight=weight, bias=bias), squared * by_channel

    mean, var = once(moments, x.base_mean, x.base_var)
    plain, groups = "transpose" not in step.call.op, int(step.arguments.get("groups", 1))
    together = step.signal().mirror_covariance if plain and groups == 1 and step.signal().mirrored == 1 else None
    if together is not None:
        first, second = weight.chunk(2, 1)
        var = (var + 2 * step.again(input=together, weight=first * second, bias=None)).clamp(min=0)
    grid, before = mean.shape[2:], x.base_mean.shape[2:]
    stride = _tuple(step.arguments.get("stride", 1), num_axes)
    source = x.kernel.on(*before)
    kernel = source.upsampled(stride, grid) if not plain else _filtered(step, x, source=source).resized(stride, grid)
    sites = grid_sites(mean.shape)
    return Signal(
        base_mean=mean,
        base_var=var,
        sites=sites,
        kernel=kernel,
        unevenness=x.unevenness,
        mirrored=1 if plain and _is_mirrored(weight, bias) else None,
    )


def _filtered(step: Step, x: Signal, *, source: Kernel) -> Kernel:
    """Random filters of many inputs leave correlations as they are; those of few have each their own."""
    weight = step.value("weight")
    extent = weight.shape[2:]
    dilated = any(size != 1 for size in _tuple(step.arguments.get("dilation", 1), len(extent)))
    work = len(weight) * source.values.numel() * math.prod(2 * size - 1 for size in extent)
    few = weight.shape[1] <= _FEW and source.by_distance and math.prod(extent) > 1
    if not few or dilated or work > _MOST_WORK:
        return source.mixed if weight.shape[1] > _FEW else source
    return source.filtered(weight, excess=0.0 if x.law is None else x.law.excess)


def grid_sites(shape: Sequence[int]) -> torch.Tensor:
    """Sites of a map (N, C, …)."""
    num_samples, grid = shape[0], shape[2:]
    count = math.prod(grid)
    positions = torch.arange(count).reshape(1, 1, *grid)
    samples = torch.arange(num_samples).reshape(-1, 1, *(1 for _ in grid))
    return (samples * count + positions).expand(tuple(shape))


def _tuple(value: Any, count: int) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == count else tuple(value) * count
    return (int(value),) * count


def _from_patches(step: Step, x: Signal, weight: torch.Tensor) -> torch.Tensor:
    """As `_from_data`, with the covariance of the patches that a kernel sees; of any signal, that of its positions."""
    raw = raw_of(x)
    transposed, num_axes = "transpose" in step.call.op, weight.dim() - 2
    if transposed:
        return torch.ones(weight.shape[1] * int(step.arguments.get("groups", 1)))
    if raw is None or num_axes != 2 or int(step.arguments.get("groups", 1)) != 1 or raw.shape[0] < 2:
        return _from_kernel(step, x, weight)
    padding = step.arguments.get("padding", 0)
    if isinstance(padding, str):
        return _from_kernel(step, x, weight)
    patches = F.unfold(
        raw - raw.mean(0),
        tuple(weight.shape[2:]),
        dilation=_tuple(step.arguments.get("dilation", 1), 2),
        padding=_tuple(padding, 2),
        stride=_tuple(step.arguments.get("stride", 1), 2),
    )
    flat = weight.flatten(1)
    patches = patches.transpose(1, 2).reshape(-1, flat.shape[1])
    covariance = patches.T @ patches / len(patches)
    whole = flat.square() @ covariance.diagonal()
    return torch.where(whole > 0, ((flat @ covariance) * flat).sum(-1) / whole, torch.ones(()))


def _from_kernel(step: Step, x: Signal, weight: torch.Tensor) -> torch.Tensor:
    """Per output, what the correlation of neighbors adds to the variance: Σ w_δ w_δ′ ρ(δ − δ′) over Σ w_δ²."""
    before, extent = x.base_mean.shape[2:], weight.shape[2:]
    if math.prod(extent) == 1 or any(size > most for size, most in zip(extent, before, strict=True)):
        return torch.ones(weight.shape[0])
    dilation = _tuple(step.arguments.get("dilation", 1), len(extent))
    kernel = x.kernel.on(*before)
    if any(step > 1 for step in dilation):
        kernel = kernel.resized(dilation, before)
    taps = weight.flatten(2)
    whole = taps.square().sum((1, 2))
    together = torch.einsum("oik,kl,oil->o", taps, kernel.window(extent), taps)
    return torch.where(whole > 0, (together / whole).clamp(min=0), torch.ones(()))


LINEAR: Mapping[str, Rule] = {
    "grouped_mm": _grouped,
    "bilinear": _bilinear,
    "cumsum": _summed_so_far,
    "linear": _linear,
    **{f"conv{transposed}{n}d": _convolution for transposed in ("", "_transpose") for n in (1, 2, 3)},
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "einsum", "tensordot", "addmm", "baddbmm", "dot"), _product),
}

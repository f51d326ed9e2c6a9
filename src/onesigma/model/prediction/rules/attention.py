"""Attention: weights from normal logits, and averages of values that go together."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from onesigma.model.prediction.draws import MOST_DRAWN, drawn
from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.laws import moments_through
from onesigma.model.prediction.rules.linear import LINEAR
from onesigma.model.prediction.signal import Known, Signal, axis_role
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["ATTENTION"]

_EXPERTS = 128
_WHOLE = 0.02  # how far the mean weights of a row may be from 1
_MOST = 2**24  # logits that are integrated one by one; of more, the sum of the others is taken as certain


def _softmax(step: Step) -> Signal:
    """Of independent normal logits: weights are log-normal over their sum, which is nearly certain."""
    x, dim = step.signal().plain, step.arguments.get("dim")
    if dim is None:
        raise Unpredictable("softmax without dim")
    over_positions = axis_role(x.sites, int(dim), num_positions=x.kernel.num_positions) == "position"
    if (
        step.call.op == "softmax"
        and step.call.kind != "attention"
        and not over_positions
        and _may_route(x, dim=int(dim))
    ):
        return drawn(x).mapped(lambda draw: torch.softmax(draw, int(dim)))
    var = x.base_var
    if step.call.kind == "attention" and x.shape[-1] == x.shape[-2]:
        var = var * (1 - _alike(x))
    elif over_positions:
        var = var * (1 - _alike(x, axis=int(dim)))
    mean, var = softmax_moments(x.base_mean, var, dim=int(dim))
    if step.call.op == "log_softmax":
        whole = (x.base_mean + x.base_var / 2).logsumexp(int(dim), keepdim=True)
        return x.fresh(x.base_mean - whole, x.base_var)
    if step.call.op != "softmax":
        raise Unpredictable(f"{step.call.op} has no rule yet")
    return replace(x.fresh(mean, var), shares=x.shape[int(dim)])


def _may_route(x: Signal, *, dim: int) -> bool:
    """Few enough weights that the largest of them may be picked; rows of tokens, not those of each head."""
    return x.base_mean.dim() < 4 and x.shape[dim] <= _EXPERTS and x.base_mean.numel() <= MOST_DRAWN


def softmax_moments(mean: torch.Tensor, var: torch.Tensor, *, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of softmax of independent normals.

    A weight e^x/(e^x + r) is the logistic function of x − ln r, and ln r, of the sum of all the others, is taken as
    normal. Where that is too much work, r is taken as certain: then E[w] = e^{m + v/2} and E[w²] = e^{2m + 2v}.
    """
    if mean.numel() <= _MOST:
        return _against_the_rest(mean, var, dim=dim)
    shares = torch.softmax(mean + var / 2, dim)
    # Beyond the point where one weight takes all, the log-normal tail is cut: a weight is never above 1.
    second = torch.minimum((shares.square() * var.clamp(max=30).exp()), shares)
    return shares, (second - shares.square()).clamp(min=0)


def _against_the_rest(mean: torch.Tensor, var: torch.Tensor, *, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    peak = (mean + var / 2).amax(dim, keepdim=True).clamp(min=-1e30)
    first = (mean + var / 2 - peak).exp()
    spread = first.square() * var.clamp(max=30).expm1()
    rest = (first.sum(dim, keepdim=True) - first).clamp(min=1e-12)
    noise = ((spread.sum(dim, keepdim=True) - spread).clamp(min=0) / rest.square()).log1p()
    centered = (mean - peak).clamp(min=-1e4) - (rest.log() - noise / 2)
    share, own = moments_through(torch.sigmoid, centered, var + noise)
    total = share.sum(dim, keepdim=True)
    return share / total, own / total.square()


def _tokens(step: Step, name: str) -> Signal:
    """Queries, keys or values; learned ones do not vary, and stand at positions of their own."""
    if isinstance(step.known.get(name), Signal):
        return step.signal(name).plain
    mean = step.value(name)
    count, sample = mean.shape[-2], torch.arange(mean.shape[0] if mean.dim() > 2 else 1)
    places = sample.reshape(-1, *(1 for _ in mean.shape[1:])) * count + torch.arange(count).unsqueeze(-1)
    sites = places.expand(mean.shape) if mean.dim() > 2 else torch.arange(count).unsqueeze(-1).expand(mean.shape)
    return Signal(base_mean=mean, base_var=torch.zeros_like(mean), sites=sites, kernel=Kernel.independent(count))


def _attend(step: Step) -> Signal:
    """softmax(q·kᵀ/√d + mask)·v."""
    query, key, value = (_tokens(step, name) for name in ("query", "key", "value"))
    key, value = (_repeated(each, heads=query.shape[-3] if query.base_mean.dim() > 2 else 1) for each in (key, value))
    scale = float(step.arguments.get("scale") or 1 / math.sqrt(query.shape[-1]))
    logits = _logits(query, key, scale=scale)
    mean, var = logits.base_mean, logits.base_var * (1 - _alike(key))
    allowed = _allowed(step, mean)
    if allowed is not None:
        mean = mean + allowed
        var = torch.where(mean == -math.inf, torch.zeros(()), var)
    weights = softmax_moments(mean, var, dim=-1)
    dropped = float(step.arguments.get("dropout_p", 0.0))
    if dropped:
        weights = weights[0], (weights[1] + dropped * weights[0].square()) / (1 - dropped)
    return replace(_weighted(logits.fresh(*weights), value), averaged=getattr(step.known["value"], "key", None))


def _alike(x: Signal, *, axis: int = -2) -> float:
    """Mean correlation of two positions: what all logits of a row have in common, and a softmax does not see."""
    line = x.sites.movedim(axis, -1).reshape(-1, x.shape[axis])[0]
    count = len(line)
    if count < 2 or x.kernel.num_positions == 1:
        return 0.0
    return min(1.0, max(0.0, (float(x.kernel.between(line[:, None], line[None, :]).sum()) / count - 1) / (count - 1)))


def _repeated(x: Signal, *, heads: int) -> Signal:
    """Keys and values shared by groups of heads, laid out for all of them."""
    if x.base_mean.dim() < 4 or x.shape[-3] == heads:
        return x
    times = heads // x.shape[-3]
    mean, var, sites = (each.repeat_interleave(times, -3) for each in (x.base_mean, x.base_var, x.sites))
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=x.kernel)


def _allowed(step: Step, logits: torch.Tensor) -> torch.Tensor | None:
    """What is added to the logits by the masks."""
    total = None
    if step.arguments.get("is_causal"):
        rows, columns = logits.shape[-2:]
        total = torch.full((rows, columns), -math.inf).triu(1)
    if isinstance(step.known.get("attn_mask"), Signal):
        raise Unpredictable("attention: the mask depends on the data")
    mask = step.optional("attn_mask")
    if mask is not None:
        mask = torch.zeros(mask.shape).masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else mask
        total = mask if total is None else total + mask
    return total


def _logits(query: Signal, key: Signal, *, scale: float = 1.0) -> Signal:
    """q·kᵀ: a sum over features, independent of one another."""
    return _summed(query, key.base_mean.transpose(-1, -2), key.base_var.transpose(-1, -2), scale=scale)


def _summed(left: Signal, mean: torch.Tensor, var: torch.Tensor, *, scale: float = 1.0) -> Signal:
    """left @ right for a right side of this mean and variance, all terms independent."""
    a, b = left.base_mean, left.base_var
    made = b @ mean.square() + a.square() @ var + b @ var
    product = a @ mean
    sites = left.sites[..., :1].expand(product.shape)
    return Signal(base_mean=product * scale, base_var=made * scale**2, sites=sites, kernel=left.kernel)


def _weighted(weights: Signal, value: Signal) -> Signal:
    """weights @ value, where the values' positions are summed over: how they go together counts."""
    plain = _summed(weights, value.base_mean, value.base_var)
    count = value.kernel.num_positions
    line = value.sites.select(-1, 0)
    if count == 1:
        return plain
    # The mean of the values is shared by all weights of a row; only its spread over positions makes variance.
    shared = value.base_mean.mean(-2, keepdim=True)
    second = weights.base_var + weights.base_mean.square()
    apart = weights.base_var @ (value.base_mean - shared).square() + second @ value.base_var
    line = line.reshape(-1, line.shape[-1])[0]
    correlations = value.kernel.between(line[:, None], line[None, :])
    size = value.base_var.mean(-1).clamp(min=0).sqrt()
    profile = value.base_var.mean(-2, keepdim=True)
    profile = profile / profile.mean(-1, keepdim=True).clamp(min=1e-30)
    var = apart + _across(weights, second, correlations, size=size).unsqueeze(-1) * profile
    spread = weights.base_mean * size.unsqueeze(-2)
    together = spread @ correlations @ spread.transpose(-1, -2)
    return Signal(base_mean=plain.base_mean, base_var=var, sites=plain.sites, kernel=_rows(weights, together, var))


def _across(weights: Signal, second: torch.Tensor, correlations: torch.Tensor, *, size: torch.Tensor) -> torch.Tensor:
    """Σ_{j≠k} E[a_j a_k]·Cov(v_j, v_k) per row, for weights a whose sum is certain.

    Positions that are alike have logits that are alike: E[a_j a_k] goes with e^{s²ρ} for logits of variance s².
    """
    mean = weights.base_mean
    noise = (weights.base_var / mean.square().clamp(min=1e-30)).clamp(max=1e6).log1p()
    size_of_mean = mean.abs()
    logits = float((noise * size_of_mean).sum() / size_of_mean.sum().clamp(min=1e-30))
    others = (min(logits, 30.0) * correlations).exp().fill_diagonal_(0.0)
    spread = mean * size.unsqueeze(-2)
    covariance = ((spread @ (others * correlations)) * spread).sum(-1)
    whole = ((mean @ others) * mean).sum(-1)
    left = mean.sum(-1).square() - second.sum(-1)
    return torch.where(whole.abs() > 1e-12, left * covariance / whole, torch.zeros(()))


def _rows(weights: Signal, together: torch.Tensor, var: torch.Tensor) -> Kernel:
    """Correlation of the results at two rows, averaged over samples and heads; windows have rows of their own."""
    kernel, count = weights.kernel, weights.kernel.num_positions
    rows = weights.sites[..., 0].expand(var.shape[:-1])
    place = (rows % count).reshape(-1, rows.shape[-1])
    covariance = together.reshape(-1, *together.shape[-2:])
    windows, which = torch.unique(place, dim=0, return_inverse=True)
    shares = torch.bincount(which)[:, None, None]
    covariance = torch.zeros(len(windows), *covariance.shape[1:]).index_add_(0, which, covariance) / shares
    variance = torch.zeros(windows.shape).index_add_(0, which, var.mean(-1).reshape(place.shape)) / shares[..., 0]
    scale = variance.clamp(min=1e-30).sqrt()
    correlations = (covariance / (scale[:, :, None] * scale[:, None, :])).clamp(-1, 1)
    values = torch.eye(count)
    if count > 1:
        for window, found in zip(windows, correlations, strict=True):
            values[window[:, None], window[None, :]] = found.fill_diagonal_(1.0)
    return Kernel(kernel.grid if not kernel.by_distance else (count,), values)


def _matmul(step: Step) -> Signal:
    """A product of two signals: queries with keys, weights with values; else of a signal and a weight."""
    if any(isinstance(value, Known) for name, value in step.known.items() if name != "bias") or len(step.signals) < 2:
        return LINEAR["matmul"](step)  # type: ignore[return-value]
    if step.call.op not in ("matmul", "bmm", "mm", "baddbmm"):
        return _einsum(step)
    left, right = step.signal("input").plain, step.signal("other").plain
    return _sum_of_products(left, right)


def _sum_of_products(left: Signal, right: Signal) -> Signal:
    role = axis_role(right.sites, -2, num_positions=right.kernel.num_positions)
    if _same_elements(left, right):
        raise Unpredictable("a product of a signal with itself")
    if role == "position":
        whole = left.base_mean.sum(-1)
        if left.shares != left.shape[-1] and not bool(((whole - 1).abs() < _WHOLE).all()):
            raise Unpredictable("a sum over positions whose weights do not sum to 1")
        return replace(_weighted(left, right), averaged=right.key)
    return _summed(left, right.base_mean, right.base_var)


def _same_elements(left: Signal, right: Signal) -> bool:
    """Whether the right side is the left side, transposed: two layers' results have not the same moments."""
    mirror = right.base_var.transpose(-1, -2)
    return left.shape == mirror.shape and torch.equal(left.base_var, mirror) and not _constant(left.base_var)


def _constant(values: torch.Tensor) -> bool:
    return bool((values == values.reshape(-1)[0]).all())


def _einsum(step: Step) -> Signal:
    """An einsum of two signals, brought into the form of a product of matrices."""
    equation = str(step.arguments.get("equation", "")).replace(" ", "")
    names = list(step.signals)
    if "->" not in equation or "..." in equation or len(names) != 2:
        raise Unpredictable(f"{step.call.op} of two signals as {equation!r}")
    read, written = equation.split("->")
    first, second = read.split(",")
    x, y = (step.signal(name).plain for name in names)
    batch = [axis for axis in first if axis in second and axis in written]
    summed = [axis for axis in first if axis in second and axis not in written]
    rows, columns = ([a for a in axes if a not in other] for axes, other in ((first, second), (second, first)))
    if len(summed) != 1 or not rows or not columns or set(written) != {*batch, *rows, *columns}:
        raise Unpredictable(f"an einsum {equation!r} that is no product of matrices")
    rows, columns = _inner_last(x, first, rows), _inner_last(y, second, columns)
    # All but one of the axes that only one side has are a batch over which the other side is the same.
    outer, last = [*rows[:-1], *columns[:-1]], (rows[-1], columns[-1])
    left = _ordered(x, first, [*batch, *outer, last[0], *summed])
    right = _ordered(y, second, [*batch, *outer, *summed, last[1]])
    return _ordered(_sum_of_products(left, right), "".join([*batch, *outer, *last]), list(written))


def _inner_last(x: Signal, axes: str, own: list[str]) -> list[str]:
    """Axes of one side alone, those of positions, which a row of a matrix stands for, behind the others."""
    count = x.kernel.num_positions
    return sorted(own, key=lambda axis: axis_role(x.sites, axes.index(axis), num_positions=count) == "position")


def _ordered(x: Signal, axes: str, order: list[str]) -> Signal:
    """With its axes in this order, and an axis of one where it has none of that name."""
    there = [axis for axis in order if axis in axes]
    missing = [place for place, axis in enumerate(order) if axis not in axes]
    found = []
    for each in (x.base_mean, x.base_var, x.sites):
        moved = each.permute([axes.index(axis) for axis in there])
        for place in missing:
            moved = moved.unsqueeze(place)
        found.append(moved)
    mean, var, sites = found
    return replace(x.fresh(mean, var, sites=sites), shares=x.shares)


def _largest(step: Step) -> list[Signal]:
    """topk and sort: the order decides, so it is drawn; which came first in the running pass is not looked at."""
    x = drawn(step.signal())
    assert x.draws is not None
    values, places = zip(*(step.again(input=draw) for draw in x.draws), strict=True)
    return [x.with_draws(torch.stack(values)), x.with_draws(torch.stack(places))]


ATTENTION: Mapping[str, Rule] = {
    "topk": _largest,
    "sort": _largest,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "scaled_dot_product_attention": _attend,
    **dict.fromkeys(("matmul", "bmm", "mm", "einsum", "baddbmm"), _matmul),
}

"""What a scheme asks of one layer: what feeds it, whether its weight is blank, what std came out, a fresh draw."""

import math

import torch

from onesigma._errors import GainError
from onesigma.init.fillers import normal_
from onesigma.init.targets import Target
from onesigma.model.capture import Site
from onesigma.model.graph import Call, Graph
from onesigma.numbers.gain import gain_of

__all__ = ["blank_like", "factor_beside", "feeding_gain", "is_blank", "normal_like", "offset_of", "std_of"]

# Their constants may be tensors, of which the attributes say nothing.
_BOUND = frozenset({"maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2", "clamp", "clamp_min", "clamp_max"})

# Sums of squares in float32 lose nothing between these.
_SMALLEST_SQUARE, _LARGEST_SQUARE = 1e-24, 1e30


def is_blank(value: torch.Tensor) -> bool:
    """All zeros; a few values tell for nearly every weight that is not."""
    if value.is_meta or not value.numel():
        return False
    return not bool(value[(0,) * (value.dim() - 1)].any()) and not bool(value.any())


def std_of(output: torch.Tensor) -> float:
    """Std of all values, correction 0, by the two fastest reductions there are, where these are precise enough."""
    if output.dtype not in (torch.float32, torch.float64):
        output = output.float()
    count, mean = max(output.numel(), 1), float(output.mean())
    variance = float(torch.linalg.vector_norm(output)) ** 2 / count - mean * mean
    # Cancellation costs 1 + mean²/variance roundings; squares of float32 reach no further than its exponent.
    is_precise = 0.01 * mean * mean < variance < _LARGEST_SQUARE and variance > _SMALLEST_SQUARE
    return math.sqrt(variance) if is_precise else float(output.double().std(correction=0))


def offset_of(site: Site) -> torch.Tensor | None:
    """What a bias that could not be set to zero adds to the output, in a shape that broadcasts; None for nothing."""
    bias = site.weights.get("bias")
    if bias is None or bias.is_meta or not bool(bias.any()):
        return None
    if site.call.op.startswith("conv"):
        return bias.view(-1, *(1 for _ in site.weights["weight"].shape[2:]))
    return bias * float(site.arguments.get("beta", 1))


def factor_beside(offset: torch.Tensor, linear: torch.Tensor, *, goal: float) -> float:
    """The factor on `linear` with which std(factor · linear + offset) is `goal`; 0 where the offset alone has more."""
    fixed, free = (part.double() - part.double().mean() for part in (offset.expand_as(linear), linear))
    square, mixed = float(free.square().mean()), float((free * fixed).mean())
    left = goal**2 - float(fixed.square().mean())
    return (math.sqrt(mixed**2 + square * left) - mixed) / square if square > 0 and left > 0 else 0.0


def blank_like(target: Target) -> torch.Tensor:
    """Float32 memory for a new value; half-precision weights are drawn in float32 and rounded once."""
    return torch.empty(target.value.shape, dtype=torch.float32, device=target.value.device)


def normal_like(target: Target, *, std: float, key: tuple[int, str]) -> torch.Tensor:
    """N(0, std²) for the weight as the call reads it, in the order of the parameter: a transpose changes no value."""
    value, stored = target.value, target.stored[0]
    if value._base is not stored or value.numel() != stored.numel() or not stored.is_contiguous():
        return normal_(blank_like(target), std=std, key=key)
    drawn = normal_(torch.empty(stored.shape, dtype=torch.float32, device=value.device), std=std, key=key)
    return drawn.as_strided(value.size(), value.stride())


def feeding_gain(graph: Graph, call: Call, *, known: dict[object, float] | None = None) -> tuple[float, str]:
    """The gain of what feeds `call`, and its name: 1 for an input, a norm, a sum; the nonlinearity's own otherwise.

    A dropout on the way, where it is active, divides the second moment by 1 − p and the gain follows. `known` keeps
    gains for further calls on the same graph.
    """
    if not call.inputs:
        return 1.0, "a constant"
    path = graph.source(call)
    gain, name = 1.0, "input" if path.end is None else path.end.op
    if path.end is not None and path.end.kind == "activation" and path.end.function is not None:
        try:
            gain = _gain(path.end, known={} if known is None else known)
        except GainError:
            name = f"{name}, of which no gain is known"
    for passed in path.passed:
        if passed.kind == "dropout" and passed.training:
            gain *= math.sqrt(1 - float(passed.attributes.get("p", 0.0)))
            name += " and dropout"
    return gain, name


def _gain(call: Call, *, known: dict[object, float]) -> float:
    assert call.function is not None
    # Equal constants make equal functions, but the slope of a PReLU stands in its parameter.
    key = (call.op, frozenset(call.attributes.items()), call.parameters.get("weight"), call.op in _BOUND and call.index)
    if key not in known:
        known[key] = gain_of(call.function)
    return known[key]

"""A linear straight into a linear: the two are one linear, with more parameters.

## What it measures

Pairs of linears (or convolutions) of which the second reads only the first and nobody else does, with at most reshapes
and dropout between. Left alone are low-rank pairs, where fewer channels lie between than at both ends (adapters,
bottlenecks), and pairs with a grouped or depthwise convolution (separable convolutions). The value is the share of
hidden linears that are so. Limits: warning beyond 0, error beyond 0.999, which is all of them, and only where the
model has no nonlinearity at all. Source: UMLAUT's and NeuraLint's "missing activation".

## Why it matters

W₂(W₁x + b₁) + b₂ is one affine map. The depth, the parameters and the time buy nothing, and the network fits no more
than a linear model.

## When it is fine

Low-rank factors, separable convolutions, linear attention, a projection that is shared or read elsewhere, fixed
transforms (cosines, wavelets), studies of deep linear networks.

## What to do

Put a nonlinearity between, or make it one layer.

## Example

    nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 1))

## References

Schoop et al. 2021 (UMLAUT), https://arxiv.org/abs/2104.02777; Stack Overflow 48385830.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding
from onesigma.rules._flow import Flow, units
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_NONLINEAR = ("activation", "norm", "attention", "recurrent", "product", "unknown")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Find pairs of linears with nothing between."""
    flow = Flow(trace)
    linears = [record for record in trace.of_kind("linear") if record.parameters]
    pairs = [(first, second) for first in linears if (second := _next(flow, first)) is not None]
    is_affine = len(pairs) >= len(linears) - 1 and not any(trace.of_kind(*_NONLINEAR))
    for first, second in pairs:
        yield from RULE.found(
            second,
            len(pairs) / max(len(linears) - 1, 1),
            limits=limits,
            at_most="error" if is_affine else "warning",
            message=(
                f"{second.name} reads {first.name} with no nonlinearity between: together they are one linear of "
                f"{first.fan_in} inputs and {units(second)} outputs."
            ),
            expected="a nonlinearity between two linears",
            confidence="by the graph",
            fix=f"nn.Sequential({first.name}, nn.ReLU(), {second.name})",
        )


def _next(flow: Flow, first: Record) -> Record | None:
    """The linear that reads nothing but `first`, if no more than one map is needed for both."""
    readers = list(flow.readers(first.index))
    second = readers[0] if len(readers) == 1 and first not in flow.returned else None
    if second is None or second.kind != "linear" or not second.parameters:
        return None
    if not (_learns(flow, first) and _learns(flow, second)):
        return None
    is_grouped = any(int(linear.attributes.get("groups", 1)) > 1 for linear in (first, second))
    is_low_rank = units(first) < min(_channels(flow, first), units(second))
    return None if is_grouped or is_low_rank else second


def _learns(flow: Flow, linear: Record) -> bool:
    """Something of it is trained: a fixed transform, as of cosines or wavelets, is meant to be just that."""
    own = f"{linear.layer}." if linear.layer else ""
    return not flow.trace.parameters or any(
        parameter.trainable and parameter.name.startswith(own) for parameter in flow.trace.parameters
    )


def _channels(flow: Flow, linear: Record) -> float:
    """What it reads at one position: a kernel of many positions makes no pair of convolutions low in rank."""
    weight = flow.trace.parameter(linear.parameters.get("weight", ""))
    if "conv" not in linear.op or weight is None:
        return linear.fan_in
    return weight.shape[0 if "transpose" in linear.op else 1]


RULE = Rule(
    code="STR801",
    name="missing-nonlinearity",
    check=check,
    page=__doc__,
    levels=Levels(warning=0.0, error=0.999),
)

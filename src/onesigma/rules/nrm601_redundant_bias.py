"""A bias that the normalization after it takes away again.

## What it measures

Whether a linear or convolution with a bias is read only by a batch norm on batch statistics, or by an instance norm or
a group norm with one channel per group, with nothing between that treats values unequally: views, transposes, pools
without zero padding. A layer norm does not count: it takes away the mean of the bias alone. A measured gradient must
agree: the bias's rms at most 1/1000 of the weight's. The value is the number of units; any at all is a warning.
Source: x + b − mean(x + b) = x − mean(x).

## Why it matters

The bias has no effect and no gradient but rounding noise of 1e-7, which Adam divides by itself: it drifts (0.13 after
500 steps at a learning rate of 0.01), the running mean runs after it, and evaluation lags behind.

## When it is fine

Frozen norms and models in eval mode, which subtract a constant: there the bias counts, and is not reported.

## What to do

Remove it and move it out of the running mean; only dropping it breaks evaluation.

## Example

    onesigma.norm.strip_biases_(model, batches)      # running_mean -= bias, for every bias proven redundant

## References

Ioffe & Szegedy 2015, section 3.2, https://arxiv.org/abs/1502.03167.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, units
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_EVEN = (
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "contiguous", "clone"),
    *("transpose", "permute", "t", "T", "mT", "swapaxes", "swapdims", "movedim", "moveaxis", "to", "float"),
)
"""Operations that only move values. Not pad, not masked_fill: they put in values without the bias."""


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Follow every biased layer to the norm that cancels its bias."""
    flow = Flow(trace)
    for linear in trace.of_kind("linear"):
        norm = _cancelling_norm(flow, linear) if "bias" in linear.parameters else None
        gradients = _gradients(trace, linear)
        if norm is None or not (gradients[0] <= 1e-3 * gradients[1] if gradients else _is_plain(linear, norm)):
            continue
        proof = f"; its gradient is {figure(gradients[0])}, the weight's {figure(gradients[1])}" if gradients else ""
        yield from RULE.found(
            linear,
            float(units(linear)),
            limits=limits,
            message=f"{linear.name}: {norm.op} {norm.name} takes its bias away again{proof}.",
            confidence="by the graph and the measured gradient" if gradients else "by the graph",
            fix="onesigma.norm.strip_biases_(model, batches)",
        )


def _is_plain(linear: Record, norm: Record) -> bool:
    """The channels of the bias are those of the norm, beyond doubt."""
    return norm.shape == linear.shape and ("conv" in linear.op or len(linear.shape) == 2)


def _cancelling_norm(flow: Flow, linear: Record) -> Record | None:
    """The only reader of this layer, if it is a norm that subtracts each channel's own mean."""
    record = linear
    while True:
        readers = list(flow.readers(record.index, through=()))
        if len(readers) != 1 or record in flow.returned:
            return None
        (record,) = readers
        if record.kind == "norm":
            return record if _centers_channels(record) else None
        if not _is_even(record):
            return None


def _centers_channels(norm: Record) -> bool:
    if norm.op == "group_norm":
        return len(norm.shape) > 1 and norm.attributes.get("num_groups") == norm.shape[1]
    flag = {"batch_norm": "training", "instance_norm": "use_input_stats"}.get(norm.op)
    return flag is not None and bool(norm.attributes.get(flag, norm.training))


def _is_even(record: Record) -> bool:
    """A constant per channel stays one."""
    if record.kind == "pool":
        padding = str(record.attributes.get("padding", 0))
        return record.op != "grid_sample" and ("max" in record.op or not padding.strip("0x"))
    return record.op in _EVEN


def _gradients(trace: Trace, linear: Record) -> tuple[float, float] | None:
    """Rms of the gradient of the bias and of the weight, where both were measured."""
    found = (trace.parameter(linear.parameters.get(role, "")) for role in ("bias", "weight"))
    bias, weight = (parameter.gradient if parameter is not None else None for parameter in found)
    return (bias.rms, weight.rms) if bias is not None and weight is not None else None


RULE = Rule(code="NRM601", name="redundant-bias", check=check, page=__doc__, levels=Levels(warning=0.0))

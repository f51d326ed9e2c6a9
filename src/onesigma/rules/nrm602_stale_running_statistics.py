"""A batch norm in eval mode normalizes by statistics that are not those of the data.

## What it measures

For a batch norm that normalizes by running statistics (eval mode): |ln(E[x²] / (mean of running_var + mean of
running_mean²))|, what its input really has against what the two buffers say, over all channels. Limits: info beyond
0.3, warning beyond 0.7 (a factor 2), error beyond 2.3 (a factor 10). Below 100 values per channel one step milder.
`onesigma.norm.gap` has it per channel, and the loss it costs. Source: reports of running statistics that are still
near (0, 1) after a few steps.

## Why it matters

Training uses the batch and looks healthy; evaluation uses these two buffers. After n updates with momentum m they
still hold (1 − m)^n of their start: at 0.1 and ten steps a third. A norm that was never updated is the identity, and
says nothing.

## When it is fine

The first steps of training; statistics frozen on purpose from pre-training, if the data are like those of then.

## What to do

Compute them exactly over the training data, in one pass.

## Example

    onesigma.norm.calibrate_(model, batches)

## References

Ioffe & Szegedy 2015, algorithm 2, https://arxiv.org/abs/1502.03167; chemprop issue 607; pytorch issue 4741.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ENOUGH_VALUES = 100


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare running statistics with what the norm reads."""
    for norm in trace.of_kind("batch_norm"):
        mean, var = (trace.parameter(norm.parameters.get(role, "")) for role in ("running_mean", "running_var"))
        if norm.attributes.get("training", norm.training) or norm.input is None or mean is None or var is None:
            continue
        promised, measured = var.value.mean + mean.value.rms**2, norm.input.rms**2
        if promised <= 0 or measured == 0:
            continue
        values = norm.input.count // max(norm.shape[1] if len(norm.shape) > 1 else 1, 1)
        yield from RULE.found(
            norm,
            abs(math.log(measured / promised)),
            limits=limits,
            milder=values < _ENOUGH_VALUES,
            message=_message(norm, promised, measured, is_fresh=mean.value.rms == 0 and var.value.std == 0),
            expected="running statistics of the data it normalizes",
            confidence=f"{values} values per channel",
            fix="onesigma.norm.calibrate_(model, batches)",
        )


def _message(norm: Record, promised: float, measured: float, *, is_fresh: bool) -> str:
    text = f"{norm.name}: its input has an rms of {figure(math.sqrt(measured))}"
    if is_fresh:
        return f"{text}, its running statistics are still (0, 1)."
    return f"{text}, its running statistics stand for {figure(math.sqrt(promised))}."


RULE = Rule(
    code="NRM602",
    name="stale-running-statistics",
    check=check,
    page=__doc__,
    levels=Levels(info=0.3, warning=0.7, error=2.3),
)

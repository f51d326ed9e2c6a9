"""The loss starts above that of a model that knows nothing: the network is confidently wrong.

## What it measures

The excess over chance in nats. For classification the loss minus log C, or minus the entropy that the trace names. For
squared errors ½·ln(loss / variance of the targets), for absolute ones ln(loss / mean deviation): what a Gaussian or
Laplace model would pay. Limits: info beyond 0.25, warning beyond 1, error beyond 2. Logits of std s cost about s²/2:
0.5 at s = 1. He's initialization of the last layer gives s = √2, which pays 0.8 and recovers in a few steps, so the
warning stands above that. Absolute, because a relative rule (twice log C) would let logits of std 5 pass for a
vocabulary of 50257. Named at the head where there is one and it multiplies its input by more than 3.

## Why it matters

The first hundreds of steps only shrink the logits, at gradients that are large for the wrong reason; it is also the
plainest sign that a signal grows on its way through the network.

## When it is fine

A loss with other terms (penalties, auxiliary heads), a sum instead of a mean, and fine-tuning on new classes. At most
a warning: logits that are multiplied on purpose (a temperature, cosines times a constant), and squared losses of
targets whose mean is what costs.

## What to do

If a layer before it is too large, mend that. Else start the head at zero or small; for regression, standardize the
targets.

## Example

    onesigma.initialize_(model, batches)
    nn.init.zeros_(model.head.weight)             # exactly log C at step 0

## References

Karpathy 2022, makemore part 3 (27 where log 27 = 3.3 is due); CS231n notes, neural networks 3, "look for correct loss
at chance".
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import LossRecord, Trace
from onesigma.rules._chance import excess, loud_head, spread_of_draws
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the loss with chance."""
    value = excess(trace.loss)
    if trace.loss is None or value is None:
        return
    flow = Flow(trace)
    yield from RULE.found(
        loud_head(flow) or "",
        value,
        limits=limits,
        slack=1 + 3 * spread_of_draws(trace, flow),
        at_most="warning" if _is_scaled(flow) or _is_offset(trace) else "error",
        message=f"{_compared(trace.loss)}: {figure(value)} nats too much.",
        expected=f"a {trace.loss.name} near {figure(trace.loss.chance or math.nan)}",
        confidence=f"{trace.num_samples} samples",
        fix="onesigma.initialize_(model, batches)",
    )


def _is_scaled(flow: Flow) -> bool:
    """A constant or a learned temperature multiplies what is returned, or the cosines in it: high by choice."""
    for record in flow.returned:
        before = [flow.by_index.get(index) for index in flow.sources(record, through=("shape", "scale", "product"))]
        is_cosine = any(source is not None and source.op == "normalize" for source in before)
        is_multiple = record.op == "mul" and (len(record.inputs) == 1 or "weight" in record.parameters)
        if is_multiple or is_cosine:
            return True
    return False


def _is_offset(trace: Trace) -> bool:
    """Most of the excess is the mean of the targets, which an output that starts near zero has yet to learn."""
    loss, columns = trace.loss, trace.targets.columns if trace.targets is not None else ()
    if loss is None or not loss.chance or "variance" not in loss.chance_name or not columns:
        return False
    variance = sum(column.std**2 for column in columns)
    offset = loss.chance * (1 + sum(column.mean**2 for column in columns) / variance) if variance else 0.0
    return 0 < loss.value < _NEAR * offset


_NEAR = 4.0
"""Up to so many times the mean square of the targets, which is what an output of zero pays."""


def _compared(loss: LossRecord) -> str:
    chance = f"{figure(loss.chance or 0.0)} ({loss.chance_name})" if loss.chance_name else figure(loss.chance or 0.0)
    return f"The loss starts at {figure(loss.value)}, where knowing nothing costs {chance}"


RULE = Rule(
    code="LOS701",
    name="initial-loss-excess",
    check=check,
    page=__doc__,
    levels=Levels(info=0.25, warning=1.0, error=2.0),
)

"""A batch norm in eval mode normalizes by statistics that are not those of the data.

## What it measures

Over the channels of a batch norm that uses, or has tracked, running statistics: the largest |running mean − mean| in
units of the measured std, or the largest |ln(running variance / variance)|, whichever is more. Limits: info beyond
0.3, warning beyond 0.6, error beyond 2.2 (a variance off by a factor of 9). At most a warning in training mode; a
norm that has tracked nothing yet and is in training mode is not judged; below 100 values per channel one step milder.
Source: reports of running statistics still near (0, 1) after a few steps.

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
    """Compare running statistics with measured ones."""
    for norm in trace.of_kind("batch_norm"):
        facts = norm.attributes
        gap, log_ratio = facts.get("running_mean_gap"), facts.get("running_var_log_ratio")
        uses_batch = bool(facts.get("training", norm.training))
        if gap is None or log_ratio is None or (uses_batch and not facts.get("num_batches_tracked", 0)):
            continue
        yield from RULE.found(
            norm,
            max(abs(float(gap)), abs(float(log_ratio))),
            limits=limits,
            milder=_values(norm) < _ENOUGH_VALUES,
            at_most="warning" if uses_batch else "error",
            message=(
                f"{norm.name}: its running mean is off by {figure(float(gap))} std, its running variance by a factor "
                f"{figure(math.exp(abs(float(log_ratio))))}, after {facts.get('num_batches_tracked', 0)} updates."
            ),
            expected="running statistics of the data it normalizes",
            confidence=f"{_values(norm)} values per channel, worst channel",
            fix="onesigma.norm.calibrate_(model, batches)",
        )


def _values(norm: Record) -> int:
    return int(norm.attributes.get("values_per_channel", 0))


RULE = Rule(
    code="NRM602",
    name="stale-running-statistics",
    check=check,
    page=__doc__,
    levels=Levels(info=0.3, warning=0.6, error=2.2),
)

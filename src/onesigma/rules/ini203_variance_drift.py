"""The signal grows or shrinks from layer to layer.

## What it measures

The std over samples of the last hidden pre-activation over that of the first, or its inverse, whichever is larger;
only where at least four linears feed nonlinearities without a norm between. Limits: info beyond 5, warning beyond 30,
error beyond 1000. Sources: SageMaker Debugger's ratio of 10 between variances, widened: torch's default loses 0.41 per
ReLU layer, which over three layers (a factor 6) trains well and over six (80) does not.

## Why it matters

The gradient of each weight is the signal before it times the gradient behind it, so a factor per layer becomes a power
of the depth on one side or the other, and no learning rate suits all layers.

## When it is fine

Networks that narrow to a bottleneck and were trained; a deliberately small last layer, which is not counted.

## What to do

Draw every layer by its own fan and gain, so that the factor is 1.

## Example

    onesigma.initialize_(model, batches)

## References

Glorot & Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html; He et al. 2015, section 2.2,
https://arxiv.org/abs/1502.01852.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, spread, width_slack
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]

_LAYERS = 4


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the first and the last hidden pre-activation."""
    linears = [linear for linear, _ in Flow(trace).preactivations()]
    if len(linears) < _LAYERS or any(trace.of_kind("norm")):
        return
    first, last = linears[0], linears[-1]
    if first.output is None or last.output is None or not spread(first.output) or not spread(last.output):
        return
    ratio = spread(last.output) / spread(first.output)
    per_layer = ratio ** (1 / (len(linears) - 1))
    yield from RULE.found(
        last,
        max(ratio, 1 / ratio),
        limits=limits,
        slack=width_slack(last),
        at_most="warning" if looks_trained(trace) else "error",
        message=(
            f"The pre-activation std goes from {figure(spread(first.output))} at {first.name} to "
            f"{figure(spread(last.output))} at {last.name}: a factor {figure(per_layer)} per layer."
        ),
        expected="the same std at every layer",
        confidence=f"{len(linears)} layers, {last.output.num_samples} samples",
        fix="onesigma.initialize_(model, batches)",
    )


RULE = Rule(
    code="INI203",
    name="variance-drift",
    check=check,
    page=__doc__,
    levels=Levels(info=5.0, warning=30.0, error=1000.0),
)

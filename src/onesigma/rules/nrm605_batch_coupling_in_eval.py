"""In eval mode the answer for one sample depends on the others in its batch.

## What it measures

In eval mode, the largest |∂out_i/∂in_j| for i ≠ j over the largest |∂out_i/∂in_i|. Limits: warning beyond 1e-6, which
is the rounding of float32, error beyond 1e-3. Source: Lightning's and TheDeepChecker's tests that samples are not
mixed.

## Why it matters

The same customer gets another answer at another hour; a batch of one may fail; test accuracy depends on how the test
set was shuffled. In training a batch norm couples samples by design, in eval it must not.

## When it is fine

Models over sets, graphs in one batch, and contrastive losses, whose samples belong together.

## What to do

Usual causes: `track_running_stats=False`, a norm left in training mode, a reshape that moves the batch axis, a softmax
over axis 0.

## Example

    onesigma.norm.coupling(model, batch)     # says which layer couples

## References

Lightning bolts' BatchGradientVerification; batch norm's `track_running_stats` in the PyTorch documentation.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge how much sample i depends on sample j."""
    if trace.coupling is None:
        return
    yield from RULE.found(
        "",
        trace.coupling,
        limits=limits,
        message=f"In eval mode outputs depend on other samples {figure(trace.coupling)} times as much as on their own.",
        expected="no dependence at all",
        confidence="by the gradient",
        fix="onesigma.norm.coupling(model, batch)",
    )


RULE = Rule(
    code="NRM605",
    name="batch-coupling-in-eval",
    check=check,
    page=__doc__,
    levels=Levels(warning=1e-6, error=1e-3),
)

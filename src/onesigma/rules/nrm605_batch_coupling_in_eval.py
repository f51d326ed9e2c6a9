"""In eval mode the answer for one sample depends on the others in its batch.

## What it measures

In eval mode, how far the output of one row moves if other rows stand beside it, over how far outputs of rows lie
apart; what lies within rounding counts as 0. Limits: warning for any, error beyond 1e-3 where a norm is seen that
normalizes by the batch. Where none is, the model may mean it: a warning at most, and a note where attention or
recurrence may take axis 0 for time. Source: Lightning's and TheDeepChecker's tests that samples are not mixed.

## Why it matters

The same customer gets another answer at another hour; a batch of one may fail; test accuracy depends on how the test
set was shuffled. In training a batch norm couples samples by design, in eval it must not.

## When it is fine

Models over sets, graphs in one batch, and contrastive losses, whose samples belong together.

## What to do

Usual causes: `track_running_stats=False`, a norm left in training mode, a reshape that moves the batch axis, a softmax
over axis 0, `batch_first=False` on batches that are.

## Example

    onesigma.norm.coupling(model, batch)     # says which layer couples

## References

Lightning bolts' BatchGradientVerification; batch norm's `track_running_stats` in the PyTorch documentation.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge how much a row depends on those beside it."""
    if not trace.coupling:
        return
    norm = next((each for each in trace.of_kind("batch_norm") if _by_batch(each, eval_mode=not trace.training)), None)
    why = f": {norm.name} normalizes by the batch" if norm is not None else ""
    yield from RULE.found(
        "" if norm is None else norm,
        trace.coupling,
        limits=limits,
        message=f"In eval mode an output moves with the other rows, {figure(trace.coupling)} of what parts rows{why}.",
        expected="no dependence at all",
        confidence="by giving a row other company",
        fix="onesigma.norm.coupling(model, batch)",
        at_most="error" if norm is not None else "info" if _may_have_time_first(trace) else "warning",
    )


def _by_batch(norm: Record, *, eval_mode: bool) -> bool:
    """It has no running statistics, or it was left to normalize by the batch in a model that is in eval mode."""
    return "running_mean" not in norm.parameters or (eval_mode and bool(norm.attributes.get("training", norm.training)))


def _may_have_time_first(trace: Trace) -> bool:
    """Rows may be time steps: recurrence or attention, and no label per row that says otherwise."""
    mixes = any(True for _ in trace.of_kind("recurrent", "attention"))
    return mixes and (trace.targets is None or len(trace.targets.shape) != 1)


RULE = Rule(
    code="NRM605",
    name="batch-coupling-in-eval",
    check=check,
    page=__doc__,
    levels=Levels(warning=0.0, error=1e-3),
)

"""The same batch costs much more in eval mode than in training mode.

## What it measures

(loss in eval mode − loss in training mode) / loss in training mode, on the same batch with the same weights; a loss
below a tenth of the chance level counts as that tenth. Only where a batch norm has tracked more than two batches; a
warning at most while a twentieth of the start (0, 1) is left in the average. Limits: info beyond 0.1, warning beyond
0.25, error beyond 0.5. Source: TheDeepChecker's 50 %.

## Why it matters

What is deployed is not what was trained. The usual causes: stale running statistics (NRM602), batches too small to
normalize by (NRM604), padding or masked values in the statistics, dropout before a norm (NRM606), a stack of layers
whose small differences multiply.

## When it is fine

Before the first steps, when running statistics are still (0, 1): such models are not judged.

## What to do

Let `onesigma.norm.gap` switch one layer at a time to find which one makes the difference, then calibrate.

## Example

    onesigma.norm.gap(model, batches, loss=loss)
    onesigma.norm.calibrate_(model, batches)

## References

pytorch issues 4741 and 5406; Wu & Johnson 2021, Rethinking "Batch" in BatchNorm, https://arxiv.org/abs/2105.07576.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._lag import MOST_LEFT
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_NEGLIGIBLE = 0.1
"""Of the chance level: between losses smaller than that, ratios say little."""


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the loss of both modes."""
    loss = trace.loss
    if loss is None or loss.in_eval is None or not loss.value > 0 or not _has_tracked(trace):
        return
    base = max(loss.value, _NEGLIGIBLE * (loss.chance or 0.0))
    left = max((float(norm.attributes.get("start_left", 0.0)) for norm in trace.of_kind("batch_norm")), default=0.0)
    start = f" {figure(100 * left)} % of their start (0, 1) is left in running statistics." if left > MOST_LEFT else ""
    yield from RULE.found(
        "",
        (loss.in_eval - loss.value) / base,
        limits=limits,
        message=f"This batch costs {figure(loss.value)} in training mode, {figure(loss.in_eval)} in eval mode.{start}",
        expected="the same loss within 10 %",
        confidence=f"{trace.num_samples} samples",
        fix="onesigma.norm.calibrate_(model, batches)",
        at_most="warning" if start else "error",
    )


def _has_tracked(trace: Trace) -> bool:
    """Some running mean is no longer zero, and more than a look at the model has moved it."""
    norms = [norm for norm in trace.of_kind("batch_norm") if int(norm.attributes.get("updates", 3)) > 2]
    means = (trace.parameter(norm.parameters.get("running_mean", "")) for norm in norms)
    return any(mean is not None and mean.value.rms > 0 for mean in means)


RULE = Rule(
    code="NRM603",
    name="train-eval-gap",
    check=check,
    page=__doc__,
    levels=Levels(info=0.1, warning=0.25, error=0.5),
)

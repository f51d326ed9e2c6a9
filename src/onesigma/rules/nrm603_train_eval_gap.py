"""The network of eval mode is not the one that was trained.

## What it measures

(loss in eval mode − loss in training mode) / loss in training mode, on the same batch with the same weights; a loss
below a tenth of the chance level counts as that tenth. Of a costly batch a few rows may settle, with 99 % confidence,
that eval mode costs less than a tenth more; what costs more is of all rows. Only where a batch norm has tracked more
than two batches; a warning at most while a twentieth of the start (0, 1) is left in the average. Also every dropout in
training mode that adds more noise than it leaves signal: the value is √(p/(1 − p)) − 1, their ratio less the 1 of
p = 0.5; a warning at most. Limits: info beyond 0.1, warning beyond 0.25 (p = 0.61), error beyond 0.5. Sources:
TheDeepChecker's 50 %; UMLAUT's dropout of more than a half.

## Why it matters

What is deployed is not what was trained. The usual causes: stale running statistics (NRM602), batches too small to
normalize by (NRM604), padding or masked values in the statistics, dropout before a norm (NRM606), a stack of layers
whose small differences multiply. A dropout of 0.8 hands on twice as much noise as signal, and two of them five times.

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

import math
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
    """Compare the loss of both modes, and the noise of every dropout with its signal."""
    for dropout in trace.of_kind("dropout"):
        rate = float(dropout.attributes.get("p", 0.0))
        noise = math.sqrt(rate / (1 - rate)) if rate < 1 else math.inf
        yield from RULE.found(
            dropout,
            noise - 1 if dropout.training else 0.0,
            limits=limits,
            message=f"{dropout.name} drops {figure(100 * rate)} %: its noise is {figure(noise)} times its signal.",
            expected="a dropout of a half at most",
            confidence="exact",
            fix=f"model.get_submodule({dropout.layer!r}).p = 0.2",
            at_most="warning",
        )
    yield from _between_modes(trace, limits)


def _between_modes(trace: Trace, limits: Limits) -> Iterator[Finding]:
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
        confidence=f"{loss.eval_samples or trace.num_samples} samples",
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

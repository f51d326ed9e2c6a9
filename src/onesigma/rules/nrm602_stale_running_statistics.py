"""A batch norm's running statistics are not those of the data.

## What it measures

For every batch norm, per channel, the running statistics (r, s) against the mean and variance (m, v) of what it reads:
√ mean of ln²(s/v), or 1.4·√ mean of (r − m)²/v, whichever is larger. Limits, widened by 1 + 3/√samples: info beyond
0.3, warning beyond 0.7 (a variance off by a factor 2, or a mean by half a std), error beyond 2.3 (a factor 10, or 1.6
std). Where channels were not measured, all of them together: |ln(E[x²] / (mean of s + mean of r²))|. Below 100 values
per channel one step milder. In training mode, where running statistics are not in use yet, a warning at most, and a
note while more than a twentieth of the start is left in the average; nothing if they were never updated. In stored
weights: a negative variance is an error (1e9 counts as its distance), statistics that were never updated (1e9, too) or
reach 1e8 (ln of what they reach) are a warning; a limit of your own for errors makes them errors.
`onesigma.norm.gap` says which layer costs what, and why. Source: reports of running statistics that are still near
(0, 1) after a few steps.

## Why it matters

Training uses the batch and looks healthy; evaluation uses these two buffers. After n updates with momentum m they
still hold (1 − m)^n of their start: at 0.1 and ten steps a third.

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
from typing import Any

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, Severity, figure
from onesigma.rules._lag import MOST_LEFT
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._statistics import distance, doubtful_statistics

__all__ = ["RULE"]

_FIX = "onesigma.norm.calibrate_(model, batches)"
_ENOUGH_VALUES = 100


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare running statistics with what the norm reads; where nothing was run, with what can be true at all."""
    for layer, value, severity, message in doubtful_statistics(trace):
        most = "error" if limits.names_error(RULE.code, layer=layer) else severity
        more: dict[str, Any] = {"at_most": most, "confidence": "exact", "fix": _FIX}
        yield from RULE.found(layer, value, limits=limits, message=message, **more)
    for norm in trace.of_kind("batch_norm"):
        mean, var = (trace.parameter(norm.parameters.get(role, "")) for role in ("running_mean", "running_var"))
        at_most = _at_most(norm)
        if norm.input is None or mean is None or var is None or at_most is None:
            continue
        promised, measured = var.value.mean + mean.value.rms**2, norm.input.rms**2
        if promised <= 0 or measured == 0:
            continue
        values = norm.input.count // max(norm.shape[1] if len(norm.shape) > 1 else 1, 1)
        yield from RULE.found(
            norm,
            distance(norm, ratio=measured / promised),
            limits=limits,
            slack=1 + 3 / math.sqrt(norm.input.num_samples) if norm.input.num_samples else 1.0,
            milder=values < _ENOUGH_VALUES,
            at_most=at_most,
            message=_message(norm, promised, measured, is_fresh=mean.value.rms == 0 and var.value.std == 0),
            expected="running statistics of the data it normalizes",
            confidence=f"{values} values per channel",
            fix=_FIX,
        )


def _at_most(norm: Record) -> Severity | None:
    """None in training mode if they were hardly ever updated: as after a look at a fresh model."""
    if not norm.attributes.get("training", norm.training):
        return "error"
    if int(norm.attributes.get("updates", 0)) <= 2:
        return None
    return "info" if float(norm.attributes.get("start_left", 0.0)) > MOST_LEFT else "warning"


def _message(norm: Record, promised: float, measured: float, *, is_fresh: bool) -> str:
    text, facts = f"{norm.name}: its input has an rms of {figure(math.sqrt(measured))}", norm.attributes
    if is_fresh or "mean_gap" not in facts:
        said = "are still (0, 1)" if is_fresh else f"stand for {figure(math.sqrt(promised))}"
        return f"{text}, its running statistics {said}."
    gap, ratio = float(facts["mean_gap"]), math.exp(float(facts["var_gap"]))
    return (
        f"{norm.name}: per channel, its running means are {figure(gap)} std from those of its input, its running "
        f"variances a factor {figure(ratio)}."
    )


_LEVELS = Levels(info=0.3, warning=0.7, error=2.3)
RULE = Rule(code="NRM602", name="stale-running-statistics", check=check, page=__doc__, levels=_LEVELS)

"""Regression targets far from unit scale, or out of the reach of the model's output.

## What it measures

For squared, absolute and Huber losses: the factor by which the targets miss unit scale, measured as in INP101. Limits:
info beyond 4, warning beyond 10, error beyond 100. Also, whatever the loss: targets outside what the last activation
can say (0 to 1 for sigmoid and softmax, −1 to 1 for tanh, 0 and more for ReLU; several labels a row for one softmax),
or what their loss is a likelihood of (0 to 1 for binary cross-entropies, 0 and more for Poisson's), and targets of
shape (N, 1) against outputs (N,), which count as errors; and targets that are all the same, a warning. Sources:
TheDeepChecker (0.1 to 10); Stack Overflow 52800582, targets in the tens of millions; 48221692, squares from a sigmoid.

## Why it matters

The gradient of a squared error is the residual: targets in thousands are gradients in thousands, and a network that
starts at unit scale needs its whole training to reach them. Where the output cannot reach the target, the activation
saturates at its bound.

## When it is fine

Counts with a Poisson or a log-link loss; a last layer whose bias and scale were set from the targets.

## What to do

Standardize the targets and undo it after the model; leave the last layer of a regression without an activation.

## Example

    scaler = onesigma.standardize(targets)
    loss = mse(model(x), scaler.transform(y))          # and scaler.inverse_transform(model(x)) when serving

## References

Nikanjam et al. 2021 (TheDeepChecker), https://arxiv.org/abs/2204.00694; Humbatova et al. 2020,
https://arxiv.org/abs/1910.11015.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._columns import farthest
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._targets import is_beyond, misfit, reach_of, undefined

__all__ = ["RULE"]

_REGRESSIONS = ("mse", "l1", "huber", "mae", "squared", "absolute")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge whether the loss is defined for the targets, their scale, then their range against that of the output."""
    targets, flow = trace.targets, Flow(trace)
    found = undefined(trace) or misfit(trace, flow)
    if found:
        yield from RULE.found(
            "targets",
            math.inf,
            limits=limits,
            message=found[1],
            at_most=found[0],
            expected="targets that differ, of the output's shape and in the loss's range",
            confidence=f"{targets.shape[0] if targets is not None and targets.shape else trace.num_samples} rows",
            fix="targets = targets.reshape(outputs.shape)  # and look at how they are made",
        )
    if found or targets is None or trace.loss is None:
        return
    if targets.kind in ("labels", "tokens"):
        return
    unreachable = next((record for record in flow.returned if is_beyond(flow, record, targets)), None)
    is_regression = any(word in trace.loss.name.lower() for word in _REGRESSIONS)
    worst, factor = farthest(targets.columns) or (None, 1.0)
    if unreachable is not None and targets.signal is not None:
        low, high = reach_of(flow, unreachable) or (-math.inf, math.inf)
        message = (
            f"The targets lie between {figure(targets.signal.minimum)} and {figure(targets.signal.maximum)}; "
            f"{unreachable.name} ({unreachable.op}) only reaches {figure(low)} to {figure(high)}."
        )
    elif worst is not None and is_regression:
        message = (
            f"The targets have mean {figure(worst.mean)} and std {figure(worst.std)}, "
            f"a factor {figure(factor)} off unit scale."
        )
    else:
        return
    yield from RULE.found(
        "targets",
        factor,
        limits=limits,
        message=message,
        at_least="error" if unreachable is not None else None,
        expected="mean near 0, std near 1, within the output's range",
        confidence=f"{targets.shape[0] if targets.shape else 0} rows",
        fix="scaler = onesigma.standardize(targets)",
    )


RULE = Rule(
    code="INP105",
    name="target-off-scale",
    check=check,
    page=__doc__,
    levels=Levels(info=4.0, warning=10.0, error=100.0),
)

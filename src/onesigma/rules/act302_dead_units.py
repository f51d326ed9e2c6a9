"""Units that never fire get no gradient and hand on a constant.

## What it measures

The share of units of a rectifier that are flat (slope 0) on every observation, and how many observations that rests
on. Limits: info beyond 1 %, warning beyond 10 %, error beyond 50 %, each widened by 1 + 2/√units. With fewer than 500
observations per unit one step milder, unless every unit is dead: a unit that fires on 1 % of samples looks dead in 72
% of batches of 32. One step milder also where dead units are not clearly more than half of those that never switch,
the others being always on: then the input does not vary enough to switch them, and which side they are on is chance.
Sources: SageMaker Debugger's DeadRelu, half of the units; 459 observations show at 1 % error that a unit fires on less
than 1 %.

## Why it matters

No gradient reaches the weights of a dead unit, so nothing revives it: the layer is as much narrower as it has dead
units.

## When it is fine

A sparse layer at 50 % zeros is not dead: each of its units fires sometimes. A few per cent after training is common.
Behind a branch that starts at zero, so that the layer before it reads nothing but zeros: not judged.

## What to do

At the start: standardize inputs that are all positive, draw the weights again, biases at 0. Later: a smaller learning
rate, a warm-up, or an activation with a slope on both sides.

## Example

    onesigma.initialize_(model, batches)          # zero biases, pre-activations centered and at std 1

## References

Lu et al. 2019, https://arxiv.org/abs/1903.06733; Stack Overflow 48934338, where positive inputs kill 48 % of the units
at the start.
"""

from collections.abc import Iterator

from onesigma.model.trace import Activity, Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import RECTIFIERS, Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._units import excuses, unit_slack

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the share of silent units of every rectifier."""
    flow = Flow(trace)
    for record in trace.of_kind("activation"):
        activity = record.activity
        if activity is None or record.op not in RECTIFIERS or _is_behind_zeros(flow, record):
            continue
        yield from RULE.found(
            record,
            activity.dead_units,
            limits=limits,
            slack=unit_slack(activity),
            milder=0 if activity.dead_units == 1 else excuses(activity, activity.dead_units),
            message=(
                f"{record.name}: {round(activity.dead_units * activity.num_units)} of {activity.num_units} "
                f"{record.op} units never fired in {activity.num_observations} observations."
            ),
            expected="every unit fires sometimes",
            confidence=_confidence(activity),
            fix="onesigma.initialize_(model, batches)",
        )


def _is_behind_zeros(flow: Flow, activation: Record) -> bool:
    """What feeds it reads nothing but zeros, as behind a branch that starts at zero: not its units, but that is why."""
    before = [flow.by_index.get(index) for index in flow.sources(activation)]
    return bool(before) and all(each is not None and each.input is not None and each.input.rms == 0 for each in before)


def _confidence(activity: Activity) -> str:
    """The rule of three: no event in n trials bounds its rate by 3/n at 95 %."""
    return f"a unit may still fire on up to {figure(300 / max(activity.num_observations, 1))} % of samples"


RULE = Rule(
    code="ACT302",
    name="dead-units",
    check=check,
    page=__doc__,
    levels=Levels(info=0.01, warning=0.1, error=0.5),
)

"""Rectifiers that fire on every observation are affine: the layer is not a nonlinearity.

## What it measures

The share of units of a rectifier that fire on every observation. Limits: info beyond 50 %, warning beyond 90 %. With
fewer than 500 observations per unit one step milder, and also where they are not clearly more than half of the units
that never switch, the others being dead: then the input does not vary enough to switch them. Source: weights of all
ones on positive data leave 0 % dead and 100 % always on.

## Why it matters

A stack of layers whose units never switch is one affine map, whatever its depth: it can fit no more than a linear
regression.

## When it is fine

The first layers of a network that keeps information through a bottleneck; softplus and other smooth rectifiers, which
are not judged.

## What to do

Center the input (INP101), draw the weights with both signs, start the biases at zero.

## Example

    onesigma.initialize_(model, batches)

## References

DeepCrime's operator "weights to ones", https://github.com/dlfaults/deepcrime; Lu et al. 2019,
https://arxiv.org/abs/1903.06733.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding
from onesigma.rules._flow import RECTIFIERS
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._units import excuses

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the share of units that never switch off."""
    for record in trace.of_kind("activation"):
        activity = record.activity
        if activity is None or record.op not in RECTIFIERS:
            continue
        yield from RULE.found(
            record,
            activity.always_on_units,
            limits=limits,
            milder=excuses(activity, activity.always_on_units),
            message=(
                f"{record.name}: {round(activity.always_on_units * activity.num_units)} of {activity.num_units} "
                f"{record.op} units fired on all of {activity.num_observations} observations."
            ),
            expected="units that switch",
            confidence=f"{activity.num_observations} observations per unit",
            fix="onesigma.initialize_(model, batches)",
        )


RULE = Rule(
    code="ACT303",
    name="always-on-units",
    check=check,
    page=__doc__,
    levels=Levels(info=0.5, warning=0.9),
)

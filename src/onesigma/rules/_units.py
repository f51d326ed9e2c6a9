"""How far a count of silent (or always active) units can be trusted."""

import math

from onesigma.model.trace import Activity

__all__ = ["excuses", "unit_slack"]

_ENOUGH = 500
"""Observations per unit from which on a unit that was never seen to switch is called one that does not."""


def excuses(activity: Activity, share: float) -> int:
    """How many reasons there are to think better of a layer in which `share` of the units never switch to this side.

    Few observations; or: among the units that never switch either way, this side has no clear majority (less than three
    standard errors over one half), so that the input does not vary and the side is chance.

    Example:
        >>> excuses(Activity(num_units=100, num_observations=512, dead_units=0.5, always_on_units=0.45), 0.5)
        1
        >>> excuses(Activity(num_units=100, num_observations=512, dead_units=0.5, always_on_units=0.1), 0.5)
        0
    """
    fixed = (activity.dead_units + activity.always_on_units) * activity.num_units
    majority = share * activity.num_units - fixed / 2
    return (activity.num_observations < _ENOUGH) + (majority < 1.5 * math.sqrt(fixed))


def unit_slack(activity: Activity) -> float:
    """The factor by which a share of so many units may exceed its expectation by chance.

    Example:
        >>> unit_slack(Activity(num_units=4, num_observations=512))
        2.0
    """
    return 1 + 2 / math.sqrt(max(activity.num_units, 1))

"""What a rule measured at its places, also where it has nothing to say."""

import math
from collections.abc import Iterable, Mapping

from onesigma.model.trace import Trace
from onesigma.rules._limits import Limits
from onesigma.rules._registry import RULES

__all__ = ["values"]


def values(trace: Trace, codes: Iterable[str]) -> Mapping[tuple[str, str, int], float]:
    """(code, layer, call) → the number that the rule judges there; the farthest off where there are several.

    Example:
        >>> from onesigma.model.trace import LossRecord
        >>> fine = Trace(loss=LossRecord(name="cross_entropy", value=2.4, chance=2.3, chance_name="log 10"))
        >>> round(values(fine, ["LOS701"])["LOS701", "", 0], 3)
        0.1
    """
    found: dict[tuple[str, str, int], float] = {}
    for code in dict.fromkeys(codes):
        rule = RULES[code]
        # With a limit that every number lies beyond, a rule tells all of them.
        everything = math.inf if rule.levels.below else -math.inf
        farther = min if rule.levels.below else max
        for finding in rule.check(trace, Limits({code: {"info": everything}})):
            key = code, finding.layer, finding.call
            found[key] = farther(finding.value, found.get(key, finding.value))
    return found

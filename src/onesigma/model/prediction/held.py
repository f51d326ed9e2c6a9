"""What signals are functions of, element by element: sums and products of such are no strangers'."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onesigma.model.prediction.unpredictable import Unpredictable

if TYPE_CHECKING:
    from onesigma.model.prediction.signal import Signal

__all__ = ["Held", "check_product", "check_sum", "held_by_larger", "held_by_product", "held_by_sum", "roots"]

# Source → the shares of the variance that go with it: linearly, and in any way.
Held = Mapping[object, tuple[float, float]]

_SUM = 0.2  # share of a sum's variance that may be missing: half of it is the std's error
_PRODUCT = 0.3  # correlation ρ of two factors; of their product's second moment 2ρ² is missing


def roots(x: "Signal") -> dict[object, tuple[float, float]]:
    """All that an element of x is made of, and by how much."""
    whole = max(float(x.base_var.mean()), 1e-30)
    found = dict(x.held)
    for key, (factor, var) in x.sources.items():
        share = min(float((factor**2 * var).mean()) / whole, 1.0)
        linear, any_way = found.get(key, (0.0, 0.0))
        found[key] = max(linear, share), max(any_way, share)
    return found


def _common(x: "Signal", y: "Signal") -> set[object]:
    return {*x.sources, *x.held} & {*y.sources, *y.held}


def check_sum(x: "Signal", y: "Signal", *, factor: float) -> None:
    """Refuse a sum of functions of the same values, where these are no sums themselves.

    Raises:
        Unpredictable: More than a fifth of the variance of the sum would be missing.
    """
    common = _common(x, y)
    if x.function is None and y.function is None:
        common -= x.sources.keys() & y.sources.keys()  # the terms of a sum are counted
    if not common:
        return
    first, second = roots(x), roots(y)
    together = sum(math.sqrt(first[key][0] * second[key][0]) for key in common)
    a, b = float(x.var.mean()), factor**2 * float(y.var.mean())
    if 2 * together * math.sqrt(a * b) > _SUM * (a + b):
        raise Unpredictable("a sum of two functions of the same values")


def check_product(x: "Signal", y: "Signal") -> None:
    """Refuse a product of functions of the same values, where it is no function of them that is known.

    Raises:
        Unpredictable: The factors go together.
    """
    common = _common(x, y)
    if common:
        first, second = roots(x), roots(y)
        if sum(math.sqrt(first[key][1] * second[key][1]) for key in common) > _PRODUCT:
            raise Unpredictable("a product of two functions of the same values")


def held_by_product(x: "Signal", y: "Signal", *, parts: Sequence[float]) -> Held:
    """Of x·y: its variance has a part from x, one from y, and one from both together."""
    whole, found = max(sum(parts), 1e-30), {}
    for signal, own in ((x, parts[0]), (y, parts[1])):
        for key, (linear, any_way) in roots(signal).items():
            found[key] = linear * own / whole, any_way * (own + parts[2]) / whole
    return found


def held_by_sum(x: "Signal", y: "Signal", *, sizes: Sequence[float]) -> Held:
    """Of x + y, beyond the terms of the sum."""
    whole, found = max(sum(sizes), 1e-30), dict[object, tuple[float, float]]()
    for signal, size in zip((x, y), sizes, strict=True):
        for key, (linear, any_way) in signal.held.items():
            before = found.get(key, (0.0, 0.0))
            found[key] = before[0] + linear * size / whole, before[1] + any_way * size / whole
    return found


def held_by_larger(signals: Sequence["Signal"]) -> Held:
    """Of the larger or smaller of signals: about half of it is each."""
    return {key: (linear / 2, any_way) for x in signals for key, (linear, any_way) in roots(x).items()}

"""Running statistics: how far they are from data, and which of stored ones cannot be true whatever the data."""

import math
from collections.abc import Iterator

from onesigma.model.trace import ParameterRecord, Record, Trace
from onesigma.rules._finding import Severity, figure
from onesigma.rules._lag import ENOUGH_UPDATES

__all__ = ["distance", "doubtful_statistics"]

_ABSURD = 1e8
"""A variance of raw unix times or counters of bytes; a norm of float32 keeps no digit of what varies in them."""

_GRAVE = 1e9
"""The distance of what is wrong whatever the data; a limit beyond it silences even that."""

_OF_A_MEAN = 1.4
"""Half a std of the mean weighs as much as a factor 2 of the variance."""


def distance(norm: Record, *, ratio: float) -> float:
    """In factors of e: per channel where that was measured, else by the ratio of both second moments.

    Example:
        >>> norm = Record(index=0, op="batch_norm", kind="norm", attributes={"mean_gap": 0.5, "var_gap": 0.1})
        >>> distance(norm, ratio=1.0)
        0.7
    """
    if "mean_gap" not in norm.attributes:
        return abs(math.log(ratio))
    return max(float(norm.attributes["var_gap"]), _OF_A_MEAN * float(norm.attributes["mean_gap"]))


def doubtful_statistics(trace: Trace) -> Iterator[tuple[str, float, Severity, str]]:
    """Layer, distance, severity and message of each; none where the model was run: then they are compared with data."""
    if trace.records:
        return
    stored = {parameter.name: parameter for parameter in trace.parameters}
    for name, var in stored.items():
        layer, _, last = name.rpartition("running_var")
        if last or not name.endswith("running_var"):
            continue
        found = _doubt(var, mean=stored.get(f"{layer}running_mean"), count=stored.get(f"{layer}num_batches_tracked"))
        if found is not None:
            distance, severity, message = found
            yield layer.rstrip("."), distance, severity, f"{layer.rstrip('.') or 'the model'}: {message}."


def _doubt(
    var: ParameterRecord, *, mean: ParameterRecord | None, count: ParameterRecord | None
) -> tuple[float, Severity, str] | None:
    if var.value.minimum < 0:
        return _GRAVE, "error", f"its running variance goes down to {figure(var.value.minimum)}, its root is NaN"
    largest = max(abs(each) for part in (var, mean or var) for each in (part.value.minimum, part.value.maximum))
    if largest > _ABSURD:
        return (
            math.log(largest),
            "warning",
            f"its running statistics reach {figure(largest)}: inputs that were never scaled",
        )
    updates = None if count is None else int(count.value.mean)
    is_start = var.value.minimum == var.value.maximum == 1 and (mean is None or mean.value.rms == 0)
    if is_start and not updates:
        return _GRAVE, "warning", "its running statistics are still (0, 1), never updated: eval mode does not normalize"
    if updates is not None and 0 < updates < ENOUGH_UPDATES:
        return 1.0, "info", f"its running statistics have seen {updates} batches, and still hold some of their start"
    return None

"""What rules about inputs share: which columns weights read, and how large a column is."""

import math
from collections.abc import Iterator

from onesigma.model.trace import Column, InputRecord
from onesigma.rules._flow import Flow

__all__ = ["factor_off", "fed_inputs", "first_layer_compensates", "label", "scale"]

_RAW_KINDS = ("features", "sequence", "image", "other")


def scale(column: Column) -> float:
    """The larger of a column's std and a sixth of its range: for a Gaussian the same, for a sparse column its reach.

    Example:
        >>> scale(Column(name="rare", mean=0.01, std=0.1, minimum=0.0, maximum=1.0)) == 1 / 6
        True
    """
    return max(column.std, (column.maximum - column.minimum) / 6)


def factor_off(column: Column) -> float:
    """By which factor the column misses unit scale; 1 where it cannot be told.

    Example:
        >>> factor_off(Column(name="proline", mean=0.0, std=50.0, minimum=-100.0, maximum=100.0))
        50.0
    """
    if column.std == 0 or not math.isfinite(column.std):
        return 1.0
    return max(math.hypot(column.mean, column.std), 1 / scale(column), 1.0)


def label(data: InputRecord, column: Column) -> str:
    """The column as a person would name it.

    Example:
        >>> hue = Column(name="hue", mean=1.0, std=0.2, minimum=0.5, maximum=1.7)
        >>> label(InputRecord(name="0", kind="features", shape=(8, 1), columns=(hue,)), hue)
        "column 'hue'"
    """
    if data.kind == "image":
        return f"channel {column.name}"
    return f"column {column.name}" if column.name.isdigit() else f"column {column.name!r}"


def fed_inputs(flow: Flow) -> Iterator[tuple[int, InputRecord]]:
    """The inputs of numbers that weights read before anything normalizes or scales them, with their index −1, −2, …"""
    for position, data in enumerate(flow.trace.inputs):
        index = -1 - position
        is_unused = not any(index in record.inputs for record in flow.trace.records)
        if data.kind in _RAW_KINDS and data.columns and (flow.feeds_weights(index) or (position == 0 and is_unused)):
            yield index, data


def first_layer_compensates(flow: Flow, index: int) -> bool:
    """True where every weighted layer that reads this input hands on a result at unit scale all the same."""
    outputs = [reader.output for reader in flow.feeds_weights(index)]
    return bool(outputs) and all(output is not None and 0.1 < output.rms < 3 for output in outputs)

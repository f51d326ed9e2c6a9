"""What rules about inputs share: which columns weights read, and how large a column is."""

import math
from collections.abc import Iterable, Iterator

from onesigma.model.trace import Column, InputRecord
from onesigma.rules._flow import Flow, spread

__all__ = ["farthest", "fed_inputs", "first_layer_compensates", "is_normalized_next", "label", "scale", "standardizing"]

_RAW_KINDS = ("features", "sequence", "image", "other")


def scale(column: Column) -> float:
    """The larger of a column's std and a quarter of its range: so a rare column counts by how far it reaches.

    Example:
        >>> scale(Column(name="rare", mean=0.01, std=0.1, minimum=0.0, maximum=1.0))
        0.25
    """
    return max(column.std, (column.maximum - column.minimum) / 4)


def farthest(columns: Iterable[Column]) -> tuple[Column, float] | None:
    """The column that tells how far data are off unit scale, with the factor; None where nothing varies.

    Data are too large if one column's rms is, and too small only if even the widest column is: a rare column
    among others harms nobody.

    Example:
        >>> proline = Column(name="proline", mean=30.0, std=40.0, minimum=-70.0, maximum=90.0)
        >>> hue = Column(name="hue", mean=0.0, std=0.01, minimum=0.0, maximum=0.02)
        >>> farthest([proline, hue]) == (proline, 50.0)
        True
    """
    varying = [column for column in columns if column.std > 0 and math.isfinite(column.std)]
    if not varying:
        return None
    loudest, widest = max(varying, key=_rms), max(varying, key=scale)
    return (loudest, _rms(loudest)) if _rms(loudest) >= 1 / scale(widest) else (widest, 1 / scale(widest))


def _rms(column: Column) -> float:
    return math.hypot(column.mean, column.std)


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


def standardizing(data: InputRecord) -> str:
    """The lines that standardize this input in front of the model; the channels of an image lie along axis 1.

    Example:
        >>> standardizing(InputRecord(name="0", kind="image", shape=(8, 3, 4, 4)))
        'scaler = onesigma.standardize(data); model = nn.Sequential(scaler.to_module(axis=1), model)'
    """
    axis = "axis=1" if len(data.shape) in (4, 5) else ""
    return f"scaler = onesigma.standardize(data); model = nn.Sequential(scaler.to_module({axis}), model)"


def fed_inputs(flow: Flow) -> Iterator[tuple[int, InputRecord]]:
    """The inputs of numbers that weights read before anything normalizes or scales them, with their index −1, −2, …"""
    for position, data in enumerate(flow.trace.inputs):
        index = -1 - position
        is_unused = not any(index in record.inputs for record in flow.trace.records)
        if data.kind in _RAW_KINDS and data.columns and (flow.feeds_weights(index) or (position == 0 and is_unused)):
            yield index, data


def first_layer_compensates(flow: Flow, index: int) -> bool:
    """True where every layer that reads this input is a linear whose result varies at unit scale all the same."""
    readers = flow.feeds_weights(index)
    outputs = [reader.output for reader in readers if reader.kind == "linear"]
    return 0 < len(readers) == len(outputs) and all(
        output is not None and spread(output) > 0.1 and output.rms < 3 for output in outputs
    )


def is_normalized_next(flow: Flow, index: int) -> bool:
    """True where every layer that reads this input is a linear that norms alone read: they undo any scale."""
    weighted = flow.feeds_weights(index)
    readers = [list(flow.readers(linear.index)) for linear in weighted if linear.kind == "linear"]
    is_normed = all(each and all(reader.kind == "norm" for reader in each) for each in readers)
    return 0 < len(weighted) == len(readers) and is_normed

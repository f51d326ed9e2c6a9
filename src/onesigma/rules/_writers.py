"""The linears that write into a residual stream, and which of them were left out of a recipe."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from onesigma.model.trace import Record
from onesigma.rules._flow import Flow

__all__ = ["unscaled_writers"]

_FEWEST = 4


def unscaled_writers(flow: Flow, stream: Sequence[Record]) -> Iterator[tuple[Record, float]]:
    """Writers that are louder than the scaled ones, with the factor; none where no recipe is to be seen.

    Recipes scale a weight's std itself (GPT-2) or its gain std·√fan_in (Fixup): loud is who is loud by both.
    """
    writers = {record.index: record for join in stream if (record := _writer(flow, join)) is not None}
    by_std = _louder(flow, writers, joins=len(stream), power=0.0)
    by_gain = _louder(flow, writers, joins=len(stream), power=0.5)
    for index in sorted(by_std.keys() & by_gain.keys()):
        yield writers[index], min(by_std[index], by_gain[index])


def _louder(flow: Flow, writers: Mapping[int, Record], *, joins: int, power: float) -> dict[int, float]:
    """Index and factor of the loud ones, by rms of the weight · fan_in^power."""
    others = [_scale(flow, each, power) for each in flow.trace.of_kind("linear") if each.index not in writers]
    scales = {index: _scale(flow, record, power) for index, record in writers.items()}
    if len(writers) < _FEWEST or not others:
        return {}
    usual, step = median(others), joins**0.25
    scaled = [scale for scale in scales.values() if 0 < scale < usual / step]
    if 2 * len(scaled) < len(writers):
        return {}
    quiet = median(scaled)
    return {i: scale / quiet for i, scale in scales.items() if scale > step * quiet and scale > usual / step}


def _writer(flow: Flow, join: Record) -> Record | None:
    """The linear whose result is added, seen through dropout and views: what ran last, the stream came before it."""
    last = flow.by_index.get(max(flow.sources(join), default=-1))
    return last if last is not None and last.kind == "linear" else None


def _scale(flow: Flow, linear: Record, power: float) -> float:
    weight = flow.trace.parameter(linear.parameters.get("weight", ""))
    return weight.value.rms * math.pow(linear.fan_in, power) if weight is not None else 0.0

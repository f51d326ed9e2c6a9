"""The linears that write into a residual stream, and which of them were left out of a recipe."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

from onesigma.model.trace import Record, Trace
from onesigma.rules._flow import Flow

__all__ = ["unscaled_writers"]

_FEWEST = 4


def unscaled_writers(flow: Flow, stream: Sequence[Record]) -> Iterator[tuple[Record, float]]:
    """Writers that are louder than the scaled ones, with the factor; none where no recipe is to be seen."""
    trace = flow.trace
    writers = {record.index: record for record in (_writer(flow, join) for join in stream) if record is not None}
    others = [_gain(trace, record) for record in trace.of_kind("linear") if record.index not in writers]
    gains = {index: _gain(trace, record) for index, record in writers.items()}
    if len(writers) < _FEWEST or not others:
        return
    usual, step = median(others), len(stream) ** 0.25
    scaled = [gain for gain in gains.values() if 0 < gain < usual / step]
    if 2 * len(scaled) < len(writers):
        return
    for index, gain in gains.items():
        if gain > step * median(scaled) and gain > usual / step:
            yield writers[index], gain / median(scaled)


def _writer(flow: Flow, join: Record) -> Record | None:
    """The linear whose result is added, seen through dropout and views: what ran last, the stream came before it."""
    last = flow.by_index.get(max(flow.sources(join), default=-1))
    return last if last is not None and last.kind == "linear" else None


def _gain(trace: Trace, linear: Record) -> float:
    weight = trace.parameter(linear.parameters.get("weight", ""))
    return weight.value.rms * math.sqrt(linear.fan_in) if weight is not None else 0.0

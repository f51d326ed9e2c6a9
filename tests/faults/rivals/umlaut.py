"""UMLAUT's heuristics that look at a model and its first batch.

Left out, since they need epochs or the optimizer: learning rate, overfitting, validation accuracy.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace


def umlaut(trace: Trace) -> Iterator[str]:
    for data in trace.inputs:
        if data.signal is None:
            continue
        if data.signal.nonfinite:
            yield from ("INP104", "NUM901")
        if data.signal.minimum < -1 or data.signal.maximum > 1:
            yield from ("INP101", "INP102")
    linears = list(trace.of_kind("linear"))
    for linear in linears[:-1]:
        readers = list(trace.consumers(linear.index))
        if readers and all(reader.kind == "linear" for reader in readers):
            yield "STR801"
    for record in trace.of_kind("dropout"):
        if float(record.attributes.get("p", 0)) > 0.5:
            yield "NRM606"

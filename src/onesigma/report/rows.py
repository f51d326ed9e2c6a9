"""A trace as the rows that a person reads: one per call that makes a new signal, with the nonlinearity it feeds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from onesigma.model.trace import Activity, Record, Signal, Trace
from onesigma.report.diagnosis import Diagnosis
from onesigma.rules import Finding

__all__ = ["Row", "rows_of"]

# Calls that only move, drop or pick values: they neither begin a row nor stand between a row and its nonlinearity.
PASSING = frozenset({"shape", "dropout", "pool", "concat"})
SILENT = PASSING | {"reduce", "loss", "activation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: a call, the nonlinearity that reads it, and the same row before the edits.

    Attributes:
        record: The call; its output is the pre-activation. For a nonlinearity that reads no such call, itself.
        activation: The nonlinearity, or None.
        before: The row as it was before the edits, or None.
        findings: What was found at either call.
        predicted: The std that theory gives the pre-activation, or None.
        predicted_gradient: The rms that theory gives the gradient at the pre-activation, or None.
    """

    record: Record
    activation: Record | None = None
    before: "Row | None" = None
    findings: tuple[Finding, ...] = ()
    predicted: float | None = None
    predicted_gradient: float | None = None

    @property
    def name(self) -> str:
        """Layer path, with the call where there is more than one."""
        return self.record.name

    @property
    def op(self) -> str:
        """The call, and the nonlinearity after it: "linear · tanh"."""
        if self.activation is None or self.activation is self.record:
            return self.record.op
        return f"{self.record.op} · {self.activation.op}"

    @property
    def preactivation(self) -> Signal | None:
        """What the call made, or what a nonlinearity of its own row reads."""
        return self.record.input if self.activation is self.record else self.record.output

    @property
    def activated(self) -> Signal | None:
        """What the nonlinearity made of it."""
        return self.activation.output if self.activation else None

    @property
    def result(self) -> Signal | None:
        """What the next row reads."""
        return self.activated or self.preactivation

    @property
    def gradient(self) -> Signal | None:
        """The gradient of the loss at the pre-activation."""
        return self.record.gradient

    @property
    def activity(self) -> Activity | None:
        """How the units of the nonlinearity work."""
        return self.activation.activity if self.activation else None

    @property
    def severity(self) -> str:
        """The worst severity found here; "" where nothing was."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in ("error", "warning", "info") if severity in found), "")


def rows_of(report: Diagnosis) -> tuple[Row, ...]:
    """The rows of a report, in execution order, each beside its state before the edits."""
    rows = [
        replace(
            row, predicted=report.predicted.get(row.name), predicted_gradient=report.predicted_gradients.get(row.name)
        )
        for row in _located(_rows(report.trace), findings=report.findings)
    ]
    if report.before is None:
        return tuple(rows)
    before = {_key(row): row for row in rows_of(report.before)}
    return tuple(replace(row, before=before.get(_key(row))) for row in rows)


def _rows(trace: Trace) -> Iterator[Row]:
    nonlinear = _activations(trace)
    attached = {record.index for record in nonlinear.values()}
    for record in trace.records:
        if record.kind == "activation" and record.index not in attached:
            yield Row(record=record, activation=record)
        elif record.kind not in SILENT:
            yield Row(record=record, activation=nonlinear.get(record.index))


def _activations(trace: Trace) -> Mapping[int, Record]:
    """For each call that makes a signal, the first nonlinearity that reads its result."""
    records = {record.index: record for record in trace.records}
    first: dict[int, Record] = {}
    for record in trace.records:
        if record.kind != "activation":
            continue
        source = _source(record, records=records)
        if source is not None and source.kind not in SILENT:
            first.setdefault(source.index, record)
    return first


def _source(record: Record, *, records: Mapping[int, Record]) -> Record | None:
    """The call whose values a record reads, seen through calls that only pass them on."""
    source = records.get(record.inputs[0]) if record.inputs else None
    while source is not None and source.kind in PASSING:
        above = records.get(source.inputs[0]) if source.inputs else None
        # A trace that was written by hand, or by someone else, may run in circles.
        source = above if above is not None and above.index < source.index else None
    return source


def _located(rows: Iterable[Row], *, findings: Iterable[Finding]) -> Iterator[Row]:
    places: dict[object, list[Finding]] = {}
    for finding in findings:
        # A finding of a rule names its call by index; one from elsewhere by layer and call.
        places.setdefault(finding.index if finding.index >= 0 else (finding.layer, finding.call), []).append(finding)
    for row in rows:
        found = (finding for place in _places(row) for finding in places.get(place, ()))
        yield replace(row, findings=tuple(found))


def _places(row: Row) -> Iterator[object]:
    """How a finding may say that it was made here: either call, or one of its parameters."""
    yield row.record.index
    if row.activation is not None and row.activation is not row.record:
        yield row.activation.index
    if row.record.layer:
        yield row.record.layer, row.record.call
    for name in dict.fromkeys(row.record.parameters.values()):
        yield name, 0


def _key(row: Row) -> tuple[str, str, int]:
    return row.record.layer, row.record.op, row.record.call

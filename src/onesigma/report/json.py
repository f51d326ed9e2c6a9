"""A report as JSON and back: schema `onesigma/report/1`, published as `docs/report.schema.json`.

Every float is written so that it reads back to the same bits. JSON has no NaN and no infinity; they are written as
the strings "NaN", "Infinity" and "-Infinity", and read back as numbers wherever a number is expected.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from onesigma._errors import ReportFileError
from onesigma.model.edits import Edit, Edits
from onesigma.model.trace import InputRecord, LossRecord, ParameterRecord, Record, Trace
from onesigma.report._codec import Json, decode, encode
from onesigma.report.diagnosis import Diagnosis
from onesigma.report.summary import FailOn, Meta, Summary
from onesigma.rules import Finding

__all__ = ["SCHEMA", "Document", "read", "write", "write_brief"]

SCHEMA = "onesigma/report/1"

AnyDiagnosis = TypeVar("AnyDiagnosis", bound=Diagnosis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What stands in a report file, in this order.

    Attributes:
        summary: The verdict and its counts.
        meta: What was looked at, with what, when.
        fail_on: The least severity that makes the exit code 1.
        model: Class name of the model.
        training: The mode the model was in as a whole.
        num_samples: Rows of all measured batches.
        layers: One per call, in execution order.
        parameters: One per parameter that the pass could reach.
        inputs: What the model was fed with.
        targets: What the loss compared with; null without.
        loss: null where no loss was given.
        outputs: Indices of the layers whose results the model returned.
        findings: What the rules found.
        edits: What was changed, or why it was not.
        curves: Losses of trainings, by name.
        predicted: Predicted std of a layer's result, by the layer's name.
        predicted_gradients: Predicted rms of the gradient at a layer's result, from the output's as measured.
        before: The report of the state before the edits; null without.
    """

    summary: Summary = field(default_factory=Summary)
    meta: Meta = field(default_factory=Meta)
    fail_on: FailOn = "warning"
    model: str = ""
    training: bool = True
    num_samples: int = 0
    layers: tuple[Record, ...]
    parameters: tuple[ParameterRecord, ...] = ()
    inputs: tuple[InputRecord, ...] = ()
    targets: InputRecord | None = None
    loss: LossRecord | None = None
    outputs: tuple[int, ...] = ()
    findings: tuple[Finding, ...]
    edits: tuple[Edit, ...]
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    predicted_gradients: Mapping[str, float] = field(default_factory=dict)
    before: "Document | None" = None


def write(report: Diagnosis) -> str:
    """The JSON text of a report: one line per layer, parameter, finding and edit, so that two files can be diffed."""
    return _text(encode(_document(report)))


def write_brief(report: Diagnosis) -> str:
    """A report of the same schema in a fifth of the bytes, as it is embedded in a page.

    Six digits, which is what float32 holds; no histograms, no firing rates per unit, no state before the edits, and
    no field that says what its absence would say.
    """
    trace = report.trace
    records, parameters = tuple(map(_brief_record, trace.records)), tuple(map(_brief_parameter, trace.parameters))
    brief = replace(report, trace=replace(trace, records=records, parameters=parameters), before=None)
    return _text(_rounded(encode(_document(brief), defaults=False)))


def _text(document: Json) -> str:
    assert isinstance(document, dict)
    return _lines({"schema": SCHEMA, **document}) + "\n"


def read(text: str | bytes, *, cls: type[AnyDiagnosis], source: str = "report") -> AnyDiagnosis:
    """The report that `write` wrote; unknown fields are left aside, so that later versions may add some.

    Raises:
        ReportFileError: Not JSON, not a report, of a newer schema, or with a value of the wrong kind.
    """
    data = _parse(text, source=source)
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ReportFileError(
            f'{source}: expected a JSON object with "schema": "{SCHEMA}", got {str(schema)[:60]!r}; '
            "write it with this version of onesigma (`--format json`), or update onesigma to read a newer one."
        )
    return _report(decode(Document, data, at=source), cls=cls)


def _parse(text: str | bytes, *, source: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON; onesigma writes it as a string")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ReportFileError(f"{source}: nested too deeply to be a report of onesigma.") from None
    except ValueError as error:
        raise ReportFileError(f"{source}: expected a JSON report of onesigma, could not read it: {error}.") from None


def _document(report: Diagnosis) -> Document:
    trace = report.trace
    return Document(
        summary=report.summary,
        meta=report.meta,
        fail_on=report.fail_on,
        model=trace.model,
        training=trace.training,
        num_samples=trace.num_samples,
        layers=trace.records,
        parameters=trace.parameters,
        inputs=trace.inputs,
        targets=trace.targets,
        loss=trace.loss,
        outputs=trace.outputs,
        findings=report.findings,
        edits=report.edits.items,
        curves=report.curves,
        predicted=report.predicted,
        predicted_gradients=report.predicted_gradients,
        before=None if report.before is None else _document(report.before),
    )


def _report(document: Document, *, cls: type[AnyDiagnosis]) -> AnyDiagnosis:
    return cls(
        trace=Trace(
            model=document.model,
            records=document.layers,
            parameters=document.parameters,
            inputs=document.inputs,
            targets=document.targets,
            loss=document.loss,
            outputs=document.outputs,
            num_samples=document.num_samples,
            training=document.training,
        ),
        findings=document.findings,
        edits=Edits(document.edits),
        before=None if document.before is None else _report(document.before, cls=cls),
        meta=document.meta,
        curves=document.curves,
        predicted=document.predicted,
        predicted_gradients=document.predicted_gradients,
        fail_on=document.fail_on,
    )


def _brief_record(record: Record) -> Record:
    return replace(
        record,
        input=_brief(record.input),
        output=_brief(record.output),
        gradient=_brief(record.gradient),
        activity=record.activity and replace(record.activity, firing=()),
    )


def _brief_parameter(parameter: ParameterRecord) -> ParameterRecord:
    return replace(parameter, value=_brief(parameter.value), gradient=_brief(parameter.gradient))


def _brief(signal: Any) -> Any:
    return signal and replace(signal, edges=(0.0, 0.0), histogram=())


def _rounded(value: Json) -> Json:
    """Six significant digits: as many as float32 holds."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return {key: _rounded(item) for key, item in value.items()} if isinstance(value, dict) else value


def _lines(document: Mapping[str, Json]) -> str:
    """An object with one line per field, and one per item of a list of objects."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_value(value)}" for key, value in document.items()) + "\n}"


def _value(value: Json) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {_compact(item)}" for item in value) + "\n]"
    if isinstance(value, dict) and "layers" in value and "findings" in value:
        return _lines(value)
    return _compact(value)


def _compact(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)

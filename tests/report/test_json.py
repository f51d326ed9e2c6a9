import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma._errors import ReportFileError
from onesigma.model.edits import Edit, Edits
from onesigma.model.trace import Column, InputRecord, LossRecord, Record, Signal, Trace
from onesigma.report import Meta, Report
from onesigma.report.json import SCHEMA, write_brief
from onesigma.report.schema import schema

from .samples import broken, finding, repaired
from .schemas import violations
from .tiny import tiny

PUBLISHED = Path(__file__).parents[2] / "docs" / "report.schema.json"

floats = st.floats(allow_nan=False) | st.just(math.nan)
texts = st.text(max_size=8)
signals = st.builds(
    Signal,
    count=st.integers(0, 2**70),
    mean=floats,
    std=floats,
    rms=floats,
    correlation=st.none() | floats,
    edges=st.tuples(floats, floats),
    histogram=st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
)
scalars = (
    st.booleans() | st.integers() | floats | texts.filter(lambda text: text not in ("NaN", "Infinity", "-Infinity"))
)
records = st.builds(
    Record,
    index=st.integers(0, 99),
    op=texts,
    kind=texts,
    layer=texts,
    inputs=st.lists(st.integers(-3, 99), max_size=2).map(tuple),
    output=st.none() | signals,
    parameters=st.dictionaries(texts, texts, max_size=2),
    attributes=st.dictionaries(texts, scalars, max_size=3),
)
findings = st.builds(finding, severity=st.sampled_from(["info", "warning", "error"]), message=texts, value=floats)
reports = st.builds(
    Report,
    trace=st.builds(
        Trace,
        model=texts,
        records=st.lists(records, max_size=2).map(tuple),
        inputs=st.just((InputRecord(name="0", kind="other", shape=()),)),
        loss=st.none() | st.builds(LossRecord, name=texts, value=floats, chance=st.none() | floats),
    ),
    findings=st.lists(findings, max_size=2).map(tuple),
    edits=st.lists(st.builds(Edit, layer=texts, action=texts, before=st.none() | floats), max_size=2).map(
        lambda edits: Edits(tuple(edits))
    ),
    meta=st.builds(
        Meta, model=texts, seed=st.none() | st.integers(), limits=st.dictionaries(texts, scalars, max_size=2)
    ),
    curves=st.dictionaries(texts, st.lists(floats, max_size=3).map(tuple), max_size=2),
)


@settings(deadline=None)
@given(reports)
def test_a_report_reads_back_equal_whatever_it_holds(report: Report) -> None:
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text


@settings(deadline=None)
@given(reports)
def test_every_json_reader_takes_the_text(report: Report) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    json.loads(report.to_json(), parse_constant=refuse)


def test_a_report_with_a_before_reads_back_equal() -> None:
    report = repaired(depth=3)
    assert Report.from_json(report.to_json()) == report


def test_nonfinite_numbers_are_words() -> None:
    column = Column(name="a", mean=math.nan, std=math.inf, minimum=-math.inf, maximum=0.0)
    trace = Trace(inputs=(InputRecord(name="0", kind="features", shape=(1, 1), columns=(column,)),))
    written = json.loads(Report(trace=trace).to_json())["inputs"][0]["columns"][0]
    assert [written[name] for name in ("mean", "std", "minimum")] == ["NaN", "Infinity", "-Infinity"]


def test_the_top_level_is_the_one_that_the_design_names() -> None:
    document = json.loads(broken(depth=2).to_json())
    assert document["schema"] == SCHEMA == "onesigma/report/1"
    assert {"schema", "summary", "layers", "findings", "edits"} <= set(document)
    named = {"code", "name", "severity", "layer", "call", "message", "value", "limit", "fix"}
    assert named <= set(document["findings"][0])


def test_one_finding_is_one_line_so_that_files_can_be_diffed() -> None:
    lines = tiny().to_json().splitlines()
    assert sum('"code":"INI202"' in line for line in lines) == 1


def test_json_is_golden(golden: Any) -> None:
    golden("tiny.json", tiny().to_json())


def test_the_brief_form_keeps_what_was_judged_to_six_digits() -> None:
    report = repaired(depth=3)
    brief = Report.from_json(write_brief(report))
    assert brief.before is None
    assert brief.findings == report.findings
    assert len(write_brief(report)) < len(replace(report, before=None).to_json()) / 2
    for short, full in zip(brief.trace.records, report.trace.records, strict=True):
        assert short.output is not None
        assert full.output is not None
        # Half a unit of the sixth digit.
        assert short.output.std == pytest.approx(full.output.std, rel=5e-6)
        assert short.output.histogram == ()


def edited(**changes: Any) -> str:
    return json.dumps({**json.loads(tiny().to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "could not read"),
        ("{", "could not read"),
        ("[]", "expected a JSON object"),
        ("null", "expected a JSON object"),
        (b"\xff\xfe\x00", "could not read"),
        ("[" * 100_000, "nested too deeply"),
        (edited(schema="onesigma/report/2"), "onesigma/report/2"),
        (edited(schema=None), "expected a JSON object"),
        (edited(layers={}), "report.layers: expected a list"),
        (edited(layers=[{"index": "0"}]), "report.layers[0].index: expected int, got '0'"),
        (edited(layers=[{"index": 0, "op": "linear"}]), "'kind' is missing"),
        (
            edited(findings=[{"code": "X", "name": "x", "severity": "fatal", "message": ""}]),
            "'info', 'warning', 'error'",
        ),
        (edited(curves={"a": [True]}), "report.curves.a[0]: expected float, got True"),
        (edited(loss={"name": "mse", "value": 10**400}), "beyond double precision"),
        (edited(fail_on="sometimes"), "report.fail_on"),
        ('{"schema": "onesigma/report/1", "layers": [], "findings": [], "edits": [], "num_samples": NaN}', "not JSON"),
        ('{"schema": "onesigma/report/1", "num_samples": 1' + "0" * 5000 + "}", "could not read"),
    ],
)
def test_what_is_no_report_is_refused_with_its_place(text: str | bytes, told: str) -> None:
    with pytest.raises(ReportFileError) as raised:
        Report.from_json(text)
    assert told in str(raised.value)
    assert len(str(raised.value)) < 400


def test_unknown_fields_are_left_aside() -> None:
    assert Report.from_json(edited(added_later=1)) == tiny()


def test_published_schema_is_the_one_of_the_code(golden: Any) -> None:
    golden(PUBLISHED, schema())


@pytest.mark.parametrize(
    "report", [tiny(), Report(trace=Trace()), Report(trace=Trace(loss=LossRecord(name="", value=math.nan)))]
)
def test_a_written_report_follows_the_published_schema(report: Report) -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert list(violations(json.loads(report.to_json()), published, root=published)) == []


def test_the_published_schema_refuses_a_broken_report() -> None:
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert list(violations(json.loads(edited(layers=[{"index": "0"}])), published, root=published))

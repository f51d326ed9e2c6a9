import subprocess
import sys
from pathlib import Path

import pytest

from onesigma._errors import ConfigError
from onesigma.model.trace import Trace
from onesigma.report import Report
from onesigma.report.groups import group
from onesigma.report.rows import rows_of

from .samples import finding
from .tiny import tiny


@pytest.mark.parametrize(
    ("severities", "fail_on", "code"),
    [
        ((), "warning", 0),
        (("info",), "warning", 0),
        (("info",), "info", 1),
        (("info", "warning"), "warning", 1),
        (("warning",), "error", 0),
        (("error",), "error", 1),
        (("error",), "never", 0),
    ],
)
def test_exit_code_is_one_from_the_severity_asked_for(severities: tuple[str, ...], fail_on: str, code: int) -> None:
    findings = tuple(finding(severity=severity) for severity in severities)
    assert Report(trace=Trace(), findings=findings, fail_on=fail_on).exit_code == code


def test_the_forms_of_a_report_draw_no_random_number_nor_does_the_import_of_what_writes_them() -> None:
    code = (
        "import random; state = random.getstate()\n"
        "from onesigma.report import Report, compare\n"
        "from onesigma.model.trace import Trace\n"
        "report = Report(trace=Trace(model='Net'))\n"
        "for each in (report, compare(report, report)):\n"
        "    each.to_text(color=True), each.to_html(), each.to_json()\n"
        "print(random.getstate() == state)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "True\n"


def test_summary_counts_what_is_there() -> None:
    summary = tiny().summary
    assert (summary.errors, summary.warnings, summary.infos) == (0, 1, 1)
    assert (summary.layers, summary.calls, summary.num_samples) == (3, 3, 32)
    assert summary.verdict == "1 warning, 1 note"


@pytest.mark.parametrize("suffix", [".json", ".html", ".txt", ".sarif", ".xml", ".JSON"])
def test_saved_twice_are_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = (tiny().save(tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first == second != b""


def test_a_saved_report_reads_back_equal(tmp_path: Path) -> None:
    assert Report.from_json(tiny().save(tmp_path / "report.json").read_bytes()) == tiny()


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_an_unknown_suffix_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a suffix of \.json"):
        tiny().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_name_that_utf8_cannot_hold_can_still_be_saved(tmp_path: Path) -> None:
    for suffix in (".json", ".html", ".txt", ".sarif", ".xml"):
        tiny(name="net\udc80").save(tmp_path / f"report{suffix}").read_text(encoding="utf-8")


def test_a_row_is_a_call_with_the_nonlinearity_that_reads_it_and_its_state_before() -> None:
    first, last = rows_of(tiny())
    assert (first.op, last.op) == ("linear · tanh", "linear")
    assert [finding.code for finding in first.findings] == ["INI202", "ACT301"]
    assert first.before is not None
    assert first.before.preactivation is not None
    assert first.before.preactivation.std == 40.0
    assert (first.predicted, first.predicted_gradient) == (1.0, 0.02)
    assert (last.predicted, last.predicted_gradient) == (None, None)


def test_groups_put_the_cause_first_and_the_worst_on_top() -> None:
    small = finding(code="NRM601", severity="info")
    effect = finding(code="ACT301", severity="error", cause="INP101")
    cause = finding(code="INP101", severity="warning")
    groups = group([small, effect, cause])
    assert [(each.code, [under.code for under in each.consequences]) for each in groups] == [
        ("INP101", ["ACT301"]),
        ("NRM601", []),
    ]

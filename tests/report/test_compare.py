import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from onesigma._errors import ReportFileError
from onesigma.cli.compare import compare as command
from onesigma.model.trace import Trace
from onesigma.report import Report, compare
from onesigma.report._words import number
from onesigma.report.rows import rows_of

from .samples import broken, finding, repaired
from .tiny import tiny


def report(*findings: Any, **changes: Any) -> Report:
    return Report(trace=Trace(), findings=findings, **changes)


def test_findings_go_come_and_stay_by_code_layer_and_call() -> None:
    change = compare(
        report(finding(value=0.9), finding(layer="net.3"), finding(call=1)),
        report(finding(value=0.3), finding(layer="net.5"), finding(call=1)),
    )
    assert [each.layer for each in change.went] == ["net.3"]
    assert [each.layer for each in change.came] == ["net.5"]
    assert [(old.value, new.value) for old, new in change.stayed] == [(0.9, 0.3), (0.61, 0.61)]


def test_a_report_is_like_itself() -> None:
    change = compare(tiny(), tiny())
    assert (change.went, change.came, change.exit_code) == ((), (), 0)
    assert len(change.stayed) == len(tiny().findings)


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [("info", "warning", 0), ("warning", "warning", 1), ("warning", "error", 0), ("error", "never", 0)],
)
def test_only_what_came_fails(severity: str, fail_on: str, code: int) -> None:
    known = finding(code="OLD1", severity="error")
    change = compare(report(known), report(known, finding(severity=severity), fail_on=fail_on))
    assert change.exit_code == code


def test_text_is_golden(golden: Any) -> None:
    before = tiny().before
    assert before is not None
    golden("compare.100.txt", compare(before, tiny()).to_text(width=100))


def test_console_prints_what_to_text_says() -> None:
    change = compare(tiny(), tiny(std=1.0))
    console = Console(file=io.StringIO(), width=100, _environ={})
    console.print(change)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == change.to_text(width=100).splitlines()


def test_json_has_every_layer_before_and_after() -> None:
    document = json.loads(compare(broken(depth=3), repaired(depth=3)).to_json())
    assert document["schema"] == "onesigma/comparison/1"
    assert [layer["name"] for layer in document["layers"]] == ["net.0", "net.2", "net.4", "net.6"]
    assert document["layers"][0]["before"] > 100
    assert document["layers"][0]["after"] == pytest.approx(1.0)


def test_the_page_has_the_changes_on_top() -> None:
    page = compare(broken(depth=3), repaired(depth=3)).to_html()
    assert page.index('id="changes"') < page.index('id="profile"')
    assert "was 131" in page


def test_what_was_before_is_told_of_layers_that_are_gone_too() -> None:
    page = compare(broken(depth=3), replace(repaired(depth=1), before=None)).to_html()
    # The first layer of `broken` is the loudest; the quietest is the last, which the later report does not have.
    stds = [row.preactivation.std for row in rows_of(broken(depth=3)) if row.preactivation]
    assert f"was {number(min(stds))} – {number(max(stds))}" in page


def test_a_layer_that_only_one_report_has_has_no_other_side() -> None:
    first, last = compare(Report(trace=Trace()), replace(tiny(), before=None)).rows
    assert (first.before, last.before) == (None, None)


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(command)
    return made


def test_the_command_reads_two_files_and_exits_by_what_came(app: typer.Typer, tmp_path: Path) -> None:
    bad, good = broken(depth=3).save(tmp_path / "bad.json"), repaired(depth=3).save(tmp_path / "good.json")
    better, worse = (CliRunner().invoke(app, list(map(str, paths))) for paths in ((bad, good), (good, bad)))
    assert (better.exit_code, worse.exit_code) == (0, 1)
    assert "went" in better.output
    page = CliRunner().invoke(app, [str(bad), str(good), "--format", "html"])
    assert page.output.startswith("<!doctype html>")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x00"])
def test_a_file_that_is_no_report_is_named(app: typer.Typer, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "before.json"
    if content is not None:
        path.write_bytes(content)
    result = CliRunner().invoke(app, [str(path), str(path)])
    assert isinstance(result.exception, ReportFileError)
    assert "before.json" in str(result.exception)

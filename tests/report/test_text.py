import io
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from onesigma.model.trace import Record, Signal, Trace
from onesigma.report import Report
from onesigma.report.rows import rows_of
from onesigma.report.scale_table import abbreviate, gauge, scale_color

from .samples import broken, finding, repaired
from .tiny import tiny

WIDTHS = [40, 60, 80, 100, 130, 160]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_text_is_golden(golden: Any, width: int) -> None:
    golden(f"tiny.{width}.txt", tiny().to_text(width=width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", [broken, repaired])
def test_no_line_is_longer_than_the_terminal_is_wide(make: Any, width: int) -> None:
    assert max(map(len, make(depth=4).to_text(width=width).splitlines())) <= width


@pytest.mark.parametrize("width", [60, 80, 130, 160])
def test_no_number_is_cut(width: int) -> None:
    text = repaired(depth=4).to_text(width=width)
    table = text[text.index("layer ") : text.index("GRA402 exploding")]
    assert "…" not in table


def test_piped_text_has_no_color_and_a_terminal_has() -> None:
    assert "\x1b" not in tiny().to_text()
    assert "\x1b[" in tiny().to_text(color=True)


def test_console_prints_what_to_text_says() -> None:
    console = Console(file=io.StringIO(), width=100, _environ={})
    console.print(tiny())
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == tiny().to_text(width=100).splitlines()


def test_names_cannot_steer_the_terminal_nor_the_markup() -> None:
    text = tiny(name="\x1b[31m[bold]net\n.0\u202e[/nope]").to_text(width=160)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "�[31m[bold]net�.0�[/nope]" in text


def deep(count: int) -> Report:
    def record(index: int) -> Record:
        std = 1.0 if index != count // 2 else 0.001
        signal = Signal(count=8, mean=0.0, std=std, rms=std)
        return Record(index=index, op="linear", kind="linear", layer=f"net.{index}", output=signal)

    return Report(trace=Trace(records=tuple(map(record, range(count)))))


def test_thousands_of_layers_are_abbreviated_and_the_worst_stays() -> None:
    text = deep(5000).to_text(width=100)
    assert len(text.splitlines()) < 80
    assert "net.2500" in text
    assert "more rows" in text


@pytest.mark.parametrize("count", [1, 59, 60, 61, 62, 200])
def test_every_row_is_shown_or_counted(count: int) -> None:
    shown = list(abbreviate(rows_of(deep(count)), limit=60))
    assert sum(len(hidden) or 1 for _, hidden in shown) == count


@pytest.mark.parametrize(
    ("std", "mark"), [(1.0, 7), (0.01, 0), (100.0, 14), (1e-30, 0), (1e30, 14), (0.0, 0), (10.0, 10), (0.1, 4)]
)
def test_gauge_stands_where_the_decade_is(std: float, mark: int) -> None:
    assert gauge(std).index("●") == mark


@pytest.mark.parametrize(
    ("std", "color"), [(1.0, "green"), (3.0, "yellow"), (30.0, "red"), (math.nan, "red"), (0.0, "red")]
)
def test_color_is_the_distance_from_one(std: float, color: str) -> None:
    assert scale_color(std) == color


def test_an_empty_report_is_one_clean_line() -> None:
    assert Report(trace=Trace(model="Net")).to_text().splitlines()[0] == "✓ no findings  Net"


def test_consequences_stand_under_their_cause() -> None:
    cause = finding(code="INP101", name="input-off-scale", layer="inputs.0", message="raw")
    findings = (*(finding(layer=f"net.{i}", cause="INP101") for i in range(40)), cause)
    text = Report(trace=Trace(), findings=findings).to_text(width=100)
    assert text.index("INP101") < text.index("↳ ACT301 saturated-activation  net.0, net.1, net.2 and 37 more")
    assert text.count("ACT301") == 1


def test_codes_that_blame_one_another_are_all_told() -> None:
    findings = (finding(code="A1", cause="B1"), finding(code="B1", cause="A1"), finding(code="C1", cause="A1"))
    text = Report(trace=Trace(), findings=findings).to_text()
    assert all(code in text for code in ("A1", "B1", "C1"))


def test_nonfinite_and_missing_numbers_are_shown_as_such() -> None:
    nothing = Signal(count=4, mean=math.nan, std=math.nan, rms=math.nan, nonfinite=4)
    trace = tiny().trace
    records = (replace(trace.records[0], output=nothing, gradient=None), *trace.records[1:])
    text = Report(trace=replace(trace, records=records)).to_text(width=160)
    assert "nan" in next(line for line in text.splitlines() if line.startswith("net.0"))

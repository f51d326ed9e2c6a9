import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from onesigma.model.trace import InputRecord, Record, Signal, Trace
from onesigma.report import Report, compare
from onesigma.report.markup import Html, tag

from .samples import broken, finding, repaired
from .tiny import tiny

VOID = {"meta", "link", "wbr"}


class Tree(HTMLParser):
    """Checks that every element is closed in order; collects ids, links and everything that loads something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has a handler in its markup"
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag in ("a", "use"):
                self.links.append(value or "")
            elif name in ("src", "srcset", "href", "action", "data", "poster", "background", "style"):
                self.loads.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return repaired().to_html()


def test_every_element_is_closed_every_id_is_one_and_every_link_has_its_target(page: str) -> None:
    tree = Tree(page)
    assert len(tree.ids) == len(set(tree.ids))
    assert {link.removeprefix("#") for link in tree.links} <= set(tree.ids)


def test_the_page_needs_no_network(page: str) -> None:
    tree = Tree(page)
    assert tree.loads == ["data:,"]
    assert all(link.startswith("#") for link in tree.links)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|import)\b\s*\(", page)


def test_the_policy_lets_nothing_out(page: str) -> None:
    assert "default-src &#x27;none&#x27;" in page
    assert "unsafe" not in page[: page.index("<style>")]


@pytest.mark.parametrize(("depth", "limit"), [(20, 300_000), (200, 1_500_000)])
def test_a_page_is_small_enough_to_mail(depth: int, limit: int) -> None:
    assert len(repaired(depth=depth).to_html().encode()) < limit


def residual(blocks: int) -> Report:
    """A ResNet-like trace: per block two convolutions, two norms, two rectifiers and a residual add, each seen."""
    seen = Signal(count=10**6, mean=0.123456789, std=1.23456789, rms=1.3456789, minimum=-5.4321, maximum=6.54321,
                  num_samples=64, sample_std=0.987654321, correlation=0.123456789, edges=(-5.4321, 6.54321),
                  histogram=tuple(range(64)))  # fmt: skip
    kinds = [("conv2d", "linear"), ("batch_norm", "norm"), ("relu", "activation")] * 2 + [("add", "join")]
    records = tuple(
        Record(
            index=7 * block + place,
            op=op,
            kind=kind,
            layer=f"backbone.layers.{block}.{op}{place}",
            inputs=(7 * block + place - 1,),
            shape=(64, 256, 14, 14),
            input=seen,
            output=seen,
            gradient=seen,
        )
        for block in range(blocks)
        for place, (op, kind) in enumerate(kinds)
    )
    findings = tuple(
        finding(code="NRM601", name="redundant-bias", layer=record.layer, index=record.index)
        for record in records
        if record.kind == "linear"
    )
    report = Report(trace=Trace(model="ResNet", records=records), findings=findings)
    return replace(report, before=report)


def test_a_200_layer_residual_network_is_small_and_quick() -> None:
    report = residual(100)
    # Processor time: what the other programs of the machine do meanwhile is not ours.
    start = time.process_time()
    page, text, data = report.to_html(), report.to_text(), report.to_json()
    assert time.process_time() - start < 5
    assert len(page.encode()) < 1_500_000
    assert "ResNet" in text
    assert Report.from_json(data) == report


def test_equal_reports_make_equal_pages() -> None:
    assert repaired(depth=3).to_html() == repaired(depth=3).to_html()
    report = repaired(depth=3)
    assert Report.from_json(report.to_json()).to_html() == report.to_html()


@pytest.mark.parametrize(
    "word",
    [
        *("Verdict", "Scale profile", "Findings", "Training", "Layers", "Distributions", "Units", "Data", "Loss"),
        *("Edits", "Settings", "proline", "examples/wine.py:build", "2.13.0", "was 131", "by chance 1.10"),
        *("About this rule", "onesigma.initialize_", "refused: zero bias", "already zero", "as it was before"),
    ],
)
def test_a_person_finds(word: str) -> None:
    report = repaired(depth=4)
    report = replace(report, findings=(*report.findings, *broken(depth=4).findings))
    assert word in "".join(Tree(report.to_html()).words)


def hostile_numbers() -> Report:
    nan, inf = float("nan"), float("inf")
    worst = Signal(
        count=0, mean=nan, std=nan, rms=inf, edges=(nan, inf), histogram=(1, 2), sample_std=inf, correlation=nan
    )
    zero = Signal(count=1, mean=0.0, std=0.0, rms=0.0, edges=(0.0, 0.0), histogram=(4,))
    huge = Signal(count=1, mean=1e308, std=1e308, rms=1e308, edges=(-1e308, 1e308), histogram=(1, 0, 1))
    trace = tiny().trace
    records = []
    for record, signal in zip(trace.records, (worst, zero, huge), strict=True):
        records.append(replace(record, input=signal, output=signal, gradient=signal))
    column = replace(trace.inputs[0].columns[0], mean=nan, std=inf, minimum=-inf)
    constant = replace(column, name="constant", mean=0.0, std=0.0)
    entry = replace(trace.inputs[0], columns=(column, constant), signal=worst)
    assert trace.loss is not None
    loss = replace(trace.loss, value=nan, chance=inf)
    return replace(
        tiny(),
        trace=replace(trace, records=tuple(records), inputs=(entry,), loss=loss),
        curves={"a": (nan, inf), "b": ()},
    )


@pytest.mark.parametrize(
    "report",
    [
        Report(trace=Trace()),
        Report(trace=Trace(), findings=(finding(layer="", fix=""),)),
        Report(trace=Trace(inputs=(InputRecord(name="ids", kind="tokens", shape=(2, 3)),))),
        Report(trace=Trace(records=(Record(index=5, op="linear", kind="linear", inputs=(5,)),))),
        Report(trace=Trace(records=(Record(index=0, op="tanh", kind="activation", inputs=(9,)),))),
        hostile_numbers(),
        replace(hostile_numbers(), before=tiny()),
        replace(tiny(), before=hostile_numbers()),
    ],
)
def test_whatever_was_measured_can_be_shown(report: Report) -> None:
    pictures = re.findall(r"<svg.*?</svg>", report.to_html(), flags=re.DOTALL)
    Tree(report.to_html())
    for picture in pictures:
        drawn = " ".join(re.findall(r' (?:d|x|y|width|height|viewBox)="([^"]*)"', picture))
        assert "nan" not in drawn
        assert "inf" not in drawn
    for width in (40, 80, 160):
        assert report.to_text(width=width)
    assert report.to_sarif()
    assert report.to_junit()
    assert compare(report, report).to_html()


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    frame = tiny()._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert frame.count("<") == 2


def test_markup_escapes_all_that_is_not_markup() -> None:
    assert tag("p", "<b>", tag("i", "&"), title="\"'<") == Html('<p title="&quot;&#x27;&lt;">&lt;b&gt;<i>&amp;</i></p>')
    assert tag("p", "a\x00b\u202ec") == "<p>a�b�c</p>"
    assert tag("pre", "a\nb") == "<pre>a\nb</pre>"


def test_the_worst_layers_are_among_the_drawn_ones() -> None:
    report = residual(100)
    bad: Any = finding(severity="error", layer=report.trace.records[350].layer, index=350)
    page = replace(report, findings=(bad,), before=None).to_html()
    drawn = page[page.index('id="distributions"') :]
    assert "backbone.layers.50.conv2d0: pre-activation" in drawn

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma import check
from onesigma.report import Report, compare

from .browser import Browser, Page, chromium
from .samples import broken, repaired
from .tiny import tiny

pytestmark = pytest.mark.browser

CONTRAST = """(() => {
  const parse = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (color) => color.slice(0, 3).map((v) => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(script)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push(`${element.tagName} ${contrast.toFixed(2)} ${element.textContent.slice(0, 20)}`);
  }
  return [...new Set(faint)].slice(0, 10);
})()"""

UNNAMED = ("button", "link", "image", "table", "region", "heading", "navigation")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    reports = {"broken": broken(), "repaired": repaired(), **odd()}
    paths = {name: report.save(folder / f"{name}.html") for name, report in reports.items()}
    paths["compared"] = folder / "compared.html"
    paths["compared"].write_text(compare(broken(depth=4), repaired(depth=4)).to_html(), encoding="utf-8")
    return paths


def odd() -> dict[str, Report]:
    """Models that leave little to draw, or little room to draw it in."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, y = torch.randn(64, 6), torch.arange(64) % 3
        lost = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
        nn.init.constant_(lost[2].weight, torch.nan)
        block = "encoder_block_with_adapters_and_cross_attention_of_the_second_tower"
        named = nn.Sequential()
        for number in range(3):
            named.add_module(f"{block}_{number}", nn.Sequential(nn.Linear(6, 6), nn.Tanh()))
        models = {"nan": lost, "long": named, "norms": nn.Sequential(nn.BatchNorm1d(6)), "nothing": nn.Identity()}
        return {
            name: check(model, (100 * x, y), loss="cross_entropy", predicted=True) for name, model in models.items()
        }


@pytest.mark.parametrize("name", ["broken", "repaired", "compared", "nan", "long", "norms", "nothing"])
@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_is_legible_and_asks_for_nothing(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    page = browser.open(pages[name], width=width, scheme=scheme)
    assert page.run("document.documentElement.scrollWidth") <= width
    # WCAG 2.2, success criterion 1.4.3: 4.5 to 1 for text.
    assert page.run(CONTRAST) == []
    assert page.troubles == []


def test_dark_is_dark_and_light_is_light(browser: Browser, pages: dict[str, Path]) -> None:
    def ground(scheme: str) -> int:
        page = browser.open(pages["broken"], scheme=scheme)
        return int(page.run("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"))

    assert ground("dark") < 64 < 192 < ground("light")


def column(page: Page, index: int) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('#layers tbody tr')].map(r => r.cells[{index}].textContent)"
    )
    return found


def test_a_heading_sorts_the_table_both_ways(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["broken"])
    click = "document.querySelectorAll('#layers thead th')[3].querySelector('button').click()"
    page.run(click)
    rising = [float(text) for text in column(page, 3)]
    assert rising == sorted(rising)
    page.run(click)
    assert [float(text) for text in column(page, 3)] == sorted(rising, reverse=True)
    assert page.run("[...document.querySelectorAll('[aria-sort=descending]')].length") == 1


def test_what_was_not_measured_is_sorted_to_the_end_both_ways(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["broken"])
    for _ in range(2):
        page.run("document.querySelectorAll('#layers thead th')[4].querySelector('button').click()")
        assert column(page, 4)[-1] == "–"


def test_arrow_keys_read_the_profile_out(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["repaired"])
    page.run("document.querySelector('.profile svg.wide').focus()")
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight"):
        page.press(key)
        told.append(page.run("document.querySelector('.readout').textContent"))
    assert [text.split(" ")[0] for text in told] == ["1.", "2.", "1.", "21.", "21."]
    assert "net.0: pre-activation 1.00" in told[0]


def test_everything_that_can_be_pressed_or_seen_has_a_name(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["repaired"])
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    seen = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert [role for role, name in seen if role in UNNAMED and not name.strip()] == []
    levels = page.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels[:3] == [1, 2, 3]
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_tab_reaches_every_control_and_shows_where_it_is(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["broken"])
    count = page.run("document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]').length")
    for _ in range(count + 40):
        page.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        page.send("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        page.run("document.activeElement.dataset.seen = 1")
        focus = "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle"
        assert page.run(focus) != "none"
    hidden = page.run(
        "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')]"
        ".filter(e => !e.dataset.seen && e.checkVisibility()).map(e => e.outerHTML.slice(0, 80))"
    )
    assert hidden == []


def test_a_link_to_a_finding_moves_the_focus_there(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["broken"])
    page.run("document.querySelector('.card a').click()")
    assert page.run("new Promise(done => setTimeout(() => done(document.activeElement.id), 50))") == "INP101"


def test_printing_opens_what_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["broken"])
    assert page.run("document.querySelectorAll('details:not([open])').length") > 0
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("document.querySelectorAll('details:not([open])').length") == 0


def test_the_embedded_numbers_are_a_report(browser: Browser, pages: dict[str, Path]) -> None:
    page = browser.open(pages["repaired"])
    text = page.run("document.getElementById('report').textContent")
    assert Report.from_json(text).findings == repaired().findings
    assert json.loads(text)["model"] == "WineNet"


@pytest.mark.parametrize(
    "name",
    [
        "<script>window.harmed = 1</script>",
        "</script><script>window.harmed = 1</script>",
        "\"><img src=x onerror='window.harmed = 1'>",
        "' onfocus='window.harmed = 1' autofocus tabindex='0",
        "<!--<script>",
        "]]><svg onload=window.harmed=1>",
        "\u2028</title><script>window.harmed = 1</script>",
    ],
)
def test_a_name_is_text_and_nothing_else(browser: Browser, tmp_path: Path, name: str) -> None:
    count = "document.querySelectorAll('*:not(wbr)').length"
    elements = browser.open(tiny(name="harmless", everywhere=True).save(tmp_path / "harmless.html")).run(count)
    page = browser.open(tiny(name=name, everywhere=True).save(tmp_path / "hostile.html"))
    assert page.run("window.harmed ?? null") is None
    assert page.run(count) == elements
    assert page.troubles == []
    assert json.loads(page.run("document.getElementById('report').textContent"))["layers"][0]["layer"] == name

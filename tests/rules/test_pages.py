"""The catalog: codes, names and pages say the same in the design, in the files and on the command line."""

import inspect
import re
from pathlib import Path

import pytest

from onesigma.rules import RULES

SECTIONS = ["What it measures", "Why it matters", "When it is fine", "What to do", "Example", "References"]

CATALOG = {
    "INP101": "input-off-scale",
    "INP102": "feature-scale-spread",
    "INP103": "constant-feature",
    "INP104": "nonfinite-input",
    "INP105": "target-off-scale",
    "INP106": "statistics-mismatch",
    "INI201": "preactivation-too-large",
    "INI202": "preactivation-too-small",
    "INI203": "variance-drift",
    "INI204": "duplicate-units",
    "INI205": "residual-growth",
    "INI206": "unstable-depth",
    "ACT301": "saturated-activation",
    "ACT302": "dead-units",
    "ACT303": "always-on-units",
    "ACT304": "collapsed-samples",
    "GRA401": "vanishing-gradient",
    "GRA402": "exploding-gradient",
    "UPD501": "update-too-large",
    "UPD502": "update-too-small",
    "NRM601": "redundant-bias",
    "NRM602": "stale-running-statistics",
    "NRM603": "train-eval-gap",
    "NRM604": "small-normalization-batch",
    "NRM605": "batch-coupling-in-eval",
    "NRM606": "dropout-before-norm",
    "LOS701": "initial-loss-excess",
    "LOS702": "initial-loss-below-chance",
    "LOS703": "loss-scales-with-batch",
    "LOS704": "constant-output",
    "LOS705": "double-softmax",
    "STR801": "missing-nonlinearity",
    "STR802": "softmax-as-hidden-activation",
    "NUM901": "nonfinite-signal",
    "NUM902": "half-precision-range",
}


def test_codes_and_names_are_never_reused_or_renamed() -> None:
    assert {code: rule.name for code, rule in RULES.items()} == CATALOG


@pytest.mark.parametrize("code", RULES)
def test_page_has_all_sections_in_order(code: str) -> None:
    assert re.findall(r"^## (.+)$", RULES[code].page, flags=re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("code", RULES)
def test_page_opens_with_one_sentence(code: str) -> None:
    assert re.fullmatch(r"[A-Z].{20,118}\.", RULES[code].summary)


@pytest.mark.parametrize("code", RULES)
def test_page_states_every_default_limit(code: str) -> None:
    text = " ".join(RULES[code].page.replace("−", "-").split())
    for name in ("info", "warning", "error"):
        limit = getattr(RULES[code].levels, name)
        if limit:
            (number, percent), *_ = re.findall(rf"{name} (?:beyond|below) (-?[\d.]+(?:e-?\d+)?)( %)?", text)
            assert float(number.rstrip(".")) / (100 if percent else 1) == pytest.approx(limit)


@pytest.mark.parametrize("code", RULES)
def test_a_rule_is_one_file_named_after_it(code: str) -> None:
    path = Path(inspect.getfile(RULES[code].check))
    assert path.stem == f"{code}_{RULES[code].name}".lower().replace("-", "_")
    assert len(path.read_text().splitlines()) <= 110

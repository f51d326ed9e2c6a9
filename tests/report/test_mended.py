"""What became of every finding: its number then and now, and the lines that do the same elsewhere."""

from dataclasses import replace

import torch
from torch import nn

from onesigma.model.edits import Edit, Edits
from onesigma.report.mended import edits_diff, lines_to_paste, mended
from onesigma.report.report import Report
from onesigma.workflows.check import check

X = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(256) % 3


def network(gain: float) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3))
    with torch.no_grad():
        model[0].weight.mul_(gain)
    return model


def both(before: float, after: float) -> Report:
    first, second = (check(network(gain), (X, Y), loss="cross_entropy") for gain in (before, after))
    return replace(second, before=first, edits=Edits((Edit(layer="0", action="draw weight", before=9.0, after=1.0),)))


def test_a_mended_finding_has_its_number_then_and_now() -> None:
    (loud,) = (each for each in mended(both(30.0, 1.0)) if each.finding.code == "INI201")
    assert loud.state == "mended"
    assert loud.finding.layer == "0"
    assert loud.before is not None
    assert loud.after is not None
    # The number is the std of the pre-activation, which the limit of the finding lies between.
    assert loud.after < loud.finding.limit < loud.before


def test_what_stays_is_milder_or_came_is_told_apart() -> None:
    states = {(each.finding.code, each.finding.layer): each.state for each in mended(both(30.0, 30.0))}
    assert set(states.values()) == {"stays"}
    assert {each.state for each in mended(both(1.0, 30.0))} == {"new"}
    assert {each.finding.code: each.state for each in mended(both(60.0, 9.0))}["INI201"] == "milder"


def test_text_and_page_show_it() -> None:
    report = both(30.0, 1.0)
    text, page = report.to_text(), report.to_html()
    assert "findings mended" in text
    assert "The same in your own code\n  onesigma.initialize_(model, batches)" in text
    assert 'id="mended"' in page
    assert "The same in your own code" in page


def test_without_a_state_before_there_is_nothing_to_compare() -> None:
    assert mended(check(network(30.0), X)) == ()


def test_the_diff_names_refusals_and_is_safe_to_print() -> None:
    edits = Edits((Edit(layer="a\x1b", action="fold", applied=False, reason="tied"),))
    assert edits_diff(edits) == "# a�: fold: tied\n"
    assert lines_to_paste(edits) == ()

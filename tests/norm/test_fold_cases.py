"""Every hard case of folding ends as it must: folded within bounds or refused, never silently wrong."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from onesigma.model.state import fingerprint
from onesigma.norm import fold_, plan_folds

CASES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("fold_more_cases.py")))["CASES"]

# What no plan can know: reads past torch, and a norm that is no module.
SEEN_BY_THE_PROOF = (
    "branch on the data",
    "functional norm",
    "norm's own weight read elsewhere",
    "type of the norm asked for",
    "absence of a bias asked for",
    "weight read through NumPy",
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::onesigma._errors.NoEffectWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(x.clone())
    return [tensor.nan_to_num() for tensor in (found if isinstance(found, tuple) else (found,))]


def largest_error(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, exact, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_every_norm_is_folded_or_refused_as_it_must_be(name: str) -> None:
    case = CASES[name]
    edits = fold_(case.model(), case.batch())
    assert tuple(edit.applied for edit in edits) == case.folds, [edit.reason for edit in edits]
    assert all(edit.reason for edit in edits)
    if case.says:
        assert any(case.says in edit.reason for edit in edits.refused), [edit.reason for edit in edits]


@pytest.mark.parametrize("name", CASES)
def test_no_output_moves_beyond_rounding(name: str) -> None:
    case = CASES[name]
    model, x = case.model(), case.batch()
    wide = case.model().double()
    exact = outputs(wide, x.double())
    fold_(wide, x.double())
    scale = max(float(output.abs().max()) for output in exact)
    assert largest_error(outputs(wide, x.double()), exact) <= 1e-10 * scale
    noise = largest_error([output.double() for output in outputs(model, x)], exact)
    fold_(model, x)
    # Twice the noise, or a few roundings of the largest output where the noise happens to be less than that.
    bound = max(2 * noise, 4 * torch.finfo(torch.float32).eps * scale)
    for other in (x, torch.randn_like(x)):
        expected = outputs(case.model().double(), other.double())
        limit = bound if other is x else 8 * bound
        assert largest_error([output.double() for output in outputs(model, other)], expected) <= limit


@pytest.mark.parametrize("name", CASES)
def test_undo_gives_every_bit_back(name: str) -> None:
    case = CASES[name]
    model = case.model().train()
    before, keys = fingerprint(model), list(model.state_dict())
    edits = fold_(model, case.batch())
    edits.undo()
    assert fingerprint(model) == before
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("name", CASES)
def test_a_plan_says_what_fold_does_and_changes_nothing(name: str) -> None:
    case = CASES[name]
    model = case.model()
    before = fingerprint(model)
    plans = plan_folds(model, case.batch())
    assert fingerprint(model) == before
    if name not in SEEN_BY_THE_PROOF:
        assert tuple(not plan.reason for plan in plans) == case.folds


def test_the_page_has_a_verdict_for_every_case_and_it_is_the_required_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "folding.md"
    rows = [line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    published = {row[0].removeprefix("| "): row[1] for row in rows}
    for name, case in CASES.items():
        mixed = "folded in part, refused in part"
        assert published[name] == (mixed if len(set(case.folds)) > 1 else "folded" if all(case.folds) else "refused")
    assert published["**silently wrong**"] == "**0**"

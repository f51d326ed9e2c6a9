"""The rules on real models: every fault is found, its fixed twin and every healthy model are left in peace."""

from collections.abc import Callable

import pytest
import torch

from .registry import Case, Fault
from .rivals import RIVALS
from .score import OURS, built, findings_of, roots_of, score
from .suite import ALL, healthy

CLEAN = list(healthy(0))


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_fault_is_found_and_named_as_the_cause(fault: Fault) -> None:
    found = findings_of(built(fault, seed=0, twin=False))
    assert fault.accepted & {finding.code for finding in found}
    assert fault.accepted & roots_of(found)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_fixed_twin_has_no_error(fault: Fault) -> None:
    assert [f.message for f in findings_of(built(fault, seed=0, twin=True)) if f.severity == "error"] == []


@pytest.mark.parametrize(("name", "build"), CLEAN, ids=[name for name, _ in CLEAN])
def test_healthy_model_has_no_error(name: str, build: Callable[[], Case]) -> None:
    torch.manual_seed(0)
    assert [f.message for f in findings_of(build()) if f.severity == "error"] == []


def test_the_suite_is_as_large_as_promised() -> None:
    assert len(ALL) >= 70
    assert len(CLEAN) >= 100


@pytest.mark.slow
def test_score_over_seeds_meets_its_bars_and_beats_every_published_rule_set() -> None:
    totals = score(range(2))
    ours = totals[OURS]
    assert ours.detected >= 0.9 * ours.runs
    assert ours.right_roots >= 0.8 * ours.roots
    assert ours.rightly_placed >= 0.8 * ours.placed
    assert ours.twin_alarms == ours.clean_alarms == 0
    assert ours.clean_warnings <= 0.2 * ours.clean_runs
    for name in RIVALS:
        assert totals[name].detected < ours.detected
        assert totals[name].clean_alarms > ours.clean_alarms

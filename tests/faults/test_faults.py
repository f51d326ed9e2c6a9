"""The rules on real models: every fault is found, its fixed twin and every healthy model are left in peace."""

from collections.abc import Callable

import pytest
import torch

from .cases import FAULTS, Case, Fault
from .clean import cases as clean_cases
from .score import built, findings_of, roots_of, score

CLEAN = list(clean_cases(0))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found_and_named_as_the_cause(fault: Fault) -> None:
    found = findings_of(built(fault, seed=0, twin=False))
    assert fault.accepted & {finding.code for finding in found}
    assert fault.accepted & roots_of(found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fixed_twin_has_no_error(fault: Fault) -> None:
    assert [f.message for f in findings_of(built(fault, seed=0, twin=True)) if f.severity == "error"] == []


@pytest.mark.parametrize(("name", "build"), CLEAN, ids=[name for name, _ in CLEAN])
def test_healthy_model_has_no_error(name: str, build: Callable[[], Case]) -> None:
    torch.manual_seed(0)
    assert [f.message for f in findings_of(build()) if f.severity == "error"] == []


def test_the_suite_is_as_large_as_promised() -> None:
    assert len(FAULTS) >= 38
    assert len(CLEAN) >= 40


@pytest.mark.slow
def test_score_over_seeds_meets_its_bars() -> None:
    total = score(range(5))
    assert total.detected >= 0.9 * total.runs
    assert total.right_roots >= 0.8 * total.roots
    assert total.twin_errors == total.clean_errors == 0
    assert total.clean_warnings <= 0.2 * total.clean_runs

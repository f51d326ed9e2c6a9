"""The score of rule sets on the fault suite, with intervals over seeds."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from math import sqrt

import torch

from onesigma.report.report import Report
from onesigma.rules import Finding
from onesigma.workflows.check import check

from .registry import Case, Fault
from .rivals import RIVALS
from .suite import ALL, healthy

__all__ = ["OURS", "Score", "built", "findings_of", "roots_of", "score"]

OURS = "onesigma"


def report_of(case: Case) -> Report:
    """What `check` finds, without training unless the case says how."""
    model, batches, loss, *training = case
    return check(model, batches, loss=loss, **(training[0] if training else {}))


def findings_of(case: Case) -> tuple[Finding, ...]:
    """The findings, infos left out."""
    return tuple(finding for finding in report_of(case).findings if finding.severity != "info")


def built(fault: Fault, *, seed: int, twin: bool) -> Case:
    torch.manual_seed(seed)
    return fault.fixed(seed) if twin else fault.buggy(seed)


def roots_of(found: Iterable[Finding]) -> set[str]:
    """Codes of the findings that no other one explains; errors alone, where there are any."""
    roots = [finding for finding in found if not finding.cause]
    return {finding.code for finding in roots if finding.severity == "error"} or {finding.code for finding in roots}


@dataclass
class Score:
    """Counts of one rule set over all cases and seeds."""

    runs: int = 0
    detected: int = 0
    roots: int = 0
    right_roots: int = 0
    placed: int = 0
    rightly_placed: int = 0
    twins: int = 0
    twin_alarms: int = 0
    clean_runs: int = 0
    clean_alarms: int = 0
    clean_warnings: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Score") -> "Score":
        """Both counts as one."""
        return Score(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Score)))

    def row(self) -> Iterator[str]:
        """Detection, cause precision, layer precision, false alarms on twins and on healthy models, warnings."""
        yield share(self.detected, self.runs)
        yield share(self.right_roots, self.roots)
        yield share(self.rightly_placed, self.placed)
        yield share(self.twin_alarms, self.twins)
        yield share(self.clean_alarms, self.clean_runs)
        yield f"{self.clean_warnings / max(self.clean_runs, 1):.2f}"


def score(
    seeds: Iterable[int],
    *,
    faults: Sequence[Fault] = ALL,
    models: Callable[[int], Iterator[tuple[str, Callable[[], Case]]]] = healthy,
) -> Mapping[str, Score]:
    """Every fault, its twin, and every healthy model, once per seed, judged by us and by every rival."""
    totals = {name: Score() for name in (OURS, *RIVALS)}
    for seed in seeds:
        for fault in faults:
            _add_fault(totals, fault, seed)
        for name, build in models(seed):
            torch.manual_seed(seed)
            _add_healthy(totals, report_of(build()), name)
    return totals


def _add_fault(totals: Mapping[str, Score], fault: Fault, seed: int) -> None:
    buggy, twin = (report_of(built(fault, seed=seed, twin=twin)) for twin in (False, True))
    loud = [finding for finding in buggy.findings if finding.severity != "info"]
    _add(totals[OURS], fault, {finding.code for finding in loud}, roots=roots_of(loud))
    totals[OURS].twin_alarms += any(finding.severity == "error" for finding in twin.findings)
    if fault.where:
        named = [finding for finding in loud if finding.code in fault.accepted and not finding.cause]
        totals[OURS].placed += len(named)
        totals[OURS].rightly_placed += sum(fnmatchcase(finding.layer, fault.where) for finding in named)
    for name, rules in RIVALS.items():
        found = set(rules(buggy.trace))
        _add(totals[name], fault, found, roots=found)
        totals[name].twin_alarms += any(rules(twin.trace))


def _add(total: Score, fault: Fault, found: set[str], *, roots: set[str]) -> None:
    is_detected = bool(found & fault.accepted)
    total.runs += 1
    total.twins += 1
    total.detected += is_detected
    total.missed.update([] if is_detected else [fault.name])
    total.roots += len(roots)
    total.right_roots += len(roots & fault.accepted)


def _add_healthy(totals: Mapping[str, Score], report: Report, name: str) -> None:
    errors = [finding.code for finding in report.findings if finding.severity == "error"]
    totals[OURS].clean_alarms += bool(errors)
    totals[OURS].clean_warnings += sum(finding.severity == "warning" for finding in report.findings)
    totals[OURS].alarms.update(f"{name}: {code}" for code in errors)
    for rival, rules in RIVALS.items():
        found = set(rules(report.trace))
        totals[rival].clean_alarms += bool(found)
        totals[rival].clean_warnings += len(found)
    for total in totals.values():
        total.clean_runs += 1


def share(part: int, whole: int) -> str:
    """With Wilson's 95 % interval."""
    if not whole:
        return "–"
    p, z2 = part / whole, 1.96**2
    center, half = p + z2 / (2 * whole), 1.96 * sqrt(p * (1 - p) / whole + z2 / (4 * whole**2))
    low, high = ((center + sign * half) / (1 + z2 / whole) for sign in (-1, 1))
    return f"{100 * p:.1f} % ({100 * low:.1f} to {100 * high:.1f})"

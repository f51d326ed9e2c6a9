"""The score of the rules on the fault suite, with intervals over seeds."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt

import torch

from onesigma.rules import Finding
from onesigma.workflows import check

from .cases import FAULTS, Case, Fault
from .clean import cases as clean_cases

__all__ = ["Score", "findings_of", "roots_of", "score"]


def findings_of(case: Case) -> tuple[Finding, ...]:
    """What `check` finds without training, infos left out."""
    model, batches, loss = case
    return tuple(finding for finding in check(model, batches, loss=loss).findings if finding.severity != "info")


def built(fault: Fault, *, seed: int, twin: bool) -> Case:
    torch.manual_seed(seed)
    return fault.fixed(seed) if twin else fault.buggy(seed)


def roots_of(found: Iterable[Finding]) -> set[str]:
    """Codes of the findings that no other one explains; errors alone, where there are any."""
    roots = [finding for finding in found if not finding.cause]
    return {finding.code for finding in roots if finding.severity == "error"} or {finding.code for finding in roots}


@dataclass
class Score:
    """Counts over all cases and seeds."""

    runs: int = 0
    detected: int = 0
    roots: int = 0
    right_roots: int = 0
    twin_errors: int = 0
    twin_warnings: int = 0
    clean_runs: int = 0
    clean_errors: int = 0
    clean_warnings: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """As Markdown."""
        rows = {
            "detection": _share(self.detected, self.runs),
            "cause precision": _share(self.right_roots, self.roots),
            "error-level findings on fixed twins": f"{self.twin_errors} in {self.runs} runs",
            "warnings per fixed twin": f"{self.twin_warnings / max(self.runs, 1):.2f}",
            "error-level findings on clean models": f"{self.clean_errors} in {self.clean_runs} runs",
            "warnings per clean model": f"{self.clean_warnings / max(self.clean_runs, 1):.2f}",
        }
        lines = ["| measure | value |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
        return "\n".join([*lines, "", f"missed: {dict(self.missed)}", f"alarms: {dict(self.alarms)}"])


def score(seeds: Iterable[int]) -> Score:
    """Every fault, its twin, and every clean model, once per seed."""
    total = Score()
    for seed in seeds:
        for fault in FAULTS:
            _add_fault(total, fault, seed)
        for name, build in clean_cases(seed):
            torch.manual_seed(seed)
            found = findings_of(build())
            errors = [finding for finding in found if finding.severity == "error"]
            total.clean_runs += 1
            total.clean_errors += len(errors)
            total.clean_warnings += len(found) - len(errors)
            total.alarms.update(f"{name}: {finding.code}" for finding in errors)
    return total


def _add_fault(total: Score, fault: Fault, seed: int) -> None:
    found = findings_of(built(fault, seed=seed, twin=False))
    twin = findings_of(built(fault, seed=seed, twin=True))
    is_detected = any(finding.code in fault.accepted for finding in found)
    total.runs += 1
    total.detected += is_detected
    total.missed.update([] if is_detected else [fault.name])
    total.roots += len(roots_of(found))
    total.right_roots += len(roots_of(found) & fault.accepted)
    errors = sum(finding.severity == "error" for finding in twin)
    total.twin_errors += errors
    total.twin_warnings += len(twin) - errors


def _share(part: int, whole: int) -> str:
    """With Wilson's 95 % interval."""
    if not whole:
        return "–"
    p, z2 = part / whole, 1.96**2
    center, half = p + z2 / (2 * whole), 1.96 * sqrt(p * (1 - p) / whole + z2 / (4 * whole**2))
    low, high = ((center + sign * half) / (1 + z2 / whole) for sign in (-1, 1))
    return f"{100 * p:.1f} % ({part} of {whole}; {100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    import sys

    sys.stdout.write(score(range(int(sys.argv[1]) if len(sys.argv) > 1 else 20)).table() + "\n")

"""Score our rules and those of other tools on the fault suite, and write the table into docs/diagnosis.md.

python scripts/score.py [seeds, 20 unless told]

One process per core, a seed at a time: some two minutes each.
"""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.score import OURS, Score, score  # noqa: E402
from tests.faults.suite import ALL, healthy  # noqa: E402

__all__ = ["main", "table"]

PAGE = ROOT / "docs" / "diagnosis.md"
START, END = "<!-- score: start -->", "<!-- score: end -->"
HEAD = ("rule set", "faults found", "right causes", "right layer", "fixed twins accused", "healthy models accused")


def table(totals: Mapping[str, Score], *, seeds: int) -> str:
    """Markdown: one row per rule set, shares in per cent with their 95 % intervals."""
    head = [*HEAD, "milder words per healthy model"]
    rows = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    rows += [f"| {name} | {' | '.join(total.row())} |" for name, total in totals.items()]
    said = (
        f"{len(ALL)} faults, their fixed twins and {len(list(healthy(0)))} healthy models, {seeds} seeds each; "
        "Wilson's 95 % intervals. For ours an accusation is a finding of level error; the other tools know one level."
    )
    missed = totals[OURS].missed
    runs = "; ".join(f"{name} ({count} of {seeds})" for name, count in missed.most_common())
    alarms = "; ".join(f"{name} ({count} of {seeds})" for name, count in totals[OURS].alarms.most_common())
    return "\n".join(
        [said, "", *rows, "", f"Missed by ours: {runs or 'none'}.", "", f"Accused by ours: {alarms or 'none'}."]
    )


def _of_seed(seed: int) -> Mapping[str, Score]:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return score([seed])


def main() -> None:
    """Measure, and put the table between its marks."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    totals: dict[str, Score] = {}
    with multiprocessing.get_context("spawn").Pool(min(seeds, os.cpu_count() or 1)) as pool:
        for done, scores in enumerate(pool.imap_unordered(_of_seed, range(seeds)), start=1):
            totals = {name: total + totals.get(name, Score()) for name, total in scores.items()}
            sys.stderr.write(f"{done} of {seeds} seeds\n")
    found = table(totals, seeds=seeds)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{found}\n{END}{after}", encoding="utf-8")
    sys.stdout.write(found + "\n")


if __name__ == "__main__":
    main()

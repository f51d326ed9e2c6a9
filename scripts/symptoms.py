"""Train every faulty program and its fixed twin for a few steps, and write what that does into docs/symptoms.md.

python scripts/symptoms.py [seeds, 3 unless told]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.suite import ALL  # noqa: E402
from tests.faults.symptoms import STEPS, Symptom, symptoms  # noqa: E402

__all__ = ["main", "page"]

PAGE = ROOT / "docs" / "symptoms.md"
HEAD = """# What the faults do

{num} of the {total} programs of the [fault suite](diagnosis.md), each trained beside its fixed twin over {seeds} seeds:
{steps} steps of Adam at 0.002 on one batch, or the case's own optimizer. *Learned* is the accuracy for labels, the
squared correlation for targets of 0 and 1, and else the share of the targets' variance that is explained; a dash where
there are no targets to compare with. *Behind*: seeds in which the faulty program learned less by 0.05 or more.
{behind} of {measured} faults that can be compared fall behind in most seeds. The others cost something else: a start
above chance, memory, an answer that depends on the batch, a deployed model that is worse than the trained one, or a
longer training than this one.

Made by `python scripts/symptoms.py [seeds]`.

| fault | loss at the start, above the twin's | learned, faulty | learned, fixed | behind |
| --- | --- | --- | --- | --- |
"""


def page(found: list[Symptom], *, seeds: int) -> str:
    """Markdown, one row per fault."""
    measured = [each for each in found if each.seeds]
    behind = sum(2 * each.behind > each.seeds for each in measured)
    counts = {"num": len(found), "total": len(ALL), "behind": behind, "measured": len(measured)}
    head = HEAD.format(seeds=seeds, steps=STEPS, **counts)
    return head + "".join(_row(each) for each in found)


def _row(each: Symptom) -> str:
    faulty, fixed = ("–" if value is None else f"{value:.2f}" for value in (each.faulty, each.fixed))
    behind = f"{each.behind} of {each.seeds}" if each.seeds else "–"
    return f"| {each.name} | {each.start_excess:.3g} | {faulty} | {fixed} | {behind} |\n"


def main() -> None:
    """Measure, and write the page."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    PAGE.write_text(page(list(symptoms(ALL, seeds=range(seeds))), seeds=seeds), encoding="utf-8")


if __name__ == "__main__":
    main()

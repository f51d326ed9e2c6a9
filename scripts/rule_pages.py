"""Write the page of every rule to docs/rules/, and the table of all rules; `--check` fails where they differ.

python scripts/rule_pages.py [--check]
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from onesigma.rules import RULES, Levels, Rule
from onesigma.workflows import audit

__all__ = ["main", "pages"]

FOLDER = Path(__file__).parents[1] / "docs" / "rules"


def pages() -> Mapping[str, str]:
    """File name → text."""
    found = {f"{rule.code}.md": f"# {rule.code} {rule.name}\n\n{rule.page.strip()}\n" for rule in RULES.values()}
    return {"index.md": _index(), **found, f"{audit.CODE}.md": audit.PAGE}


def _index() -> str:
    head = "# Rules\n\nMade by `scripts/rule_pages.py` from the rules' own docstrings.\n\n"
    rows = ["| code | name | info | warning | error | fires when |", "| --- | --- | --- | --- | --- | --- |"]
    tail = f"\nWith `--audit RECIPE` there is [{audit.CODE}]({audit.CODE}.md) off-recipe, too.\n"
    return head + "\n".join([*rows, *(_row(rule) for rule in RULES.values())]) + "\n" + tail


def _row(rule: Rule) -> str:
    return f"| [{rule.code}]({rule.code}.md) | {rule.name} | {_limits(rule.levels)} | {rule.summary} |"


def _limits(levels: Levels) -> str:
    sign = "<" if levels.below else ">"
    limits = (levels.info, levels.warning, levels.error)
    return " | ".join("–" if limit is None else f"{sign} {limit:g}" for limit in limits)


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = [name for name, text in pages().items() if not _is_same(FOLDER / name, text)]
    if "--check" in arguments:
        sys.stderr.writelines(f"docs/rules/{name} is stale; run scripts/rule_pages.py\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(pages()[name])
    return 0


def _is_same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

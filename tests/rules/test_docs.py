"""docs/rules is what the docstrings say."""

from pathlib import Path

import pytest

from onesigma.rules import RULES

FOLDER = Path(__file__).parents[2] / "docs" / "rules"


@pytest.mark.parametrize("code", RULES)
def test_page_in_the_docs_is_the_docstring(code: str) -> None:
    text = f"# {code} {RULES[code].name}\n\n{RULES[code].page.strip()}\n"
    assert (FOLDER / f"{code}.md").read_text() == text, "stale: run python scripts/rule_pages.py"

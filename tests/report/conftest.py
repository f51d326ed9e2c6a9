"""Golden files: what a report looked like when a person last read it and found it good."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Callable[[str | Path, str], None]:
    """Compare with `golden/name`; `UPDATE_GOLDEN=1 pytest tests/report` writes it instead: read the diff."""

    def compare(name: str | Path, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_bytes(text.encode())
        assert text == path.read_bytes().decode(), f"differs from {path}"

    return compare

"""The list of commands tells what each docstring tells, and shows it without importing what the commands need."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from onesigma.cli._commands import SUMMARIES


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_list_says_the_first_sentence_of_the_docstring(name: str) -> None:
    docstring = getattr(import_module(f"onesigma.cli.{name}"), name).__doc__
    assert SUMMARIES[name] == " ".join(docstring.split("\n\n")[0].split())


def test_the_page_of_the_command_line_has_every_command_and_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert [name for name in SUMMARIES if name not in page] == []
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == ["0", "1", "2", "130", "141"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["standardize", "--help"], ["merge", "--help"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from onesigma.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def test_a_mistyped_command_is_told_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    from onesigma.cli import main

    with pytest.raises(SystemExit):
        main(["standardise"])
    assert "standardize" in capsys.readouterr().err

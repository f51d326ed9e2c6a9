"""The list of commands tells what each docstring tells, and shows it without importing what the commands need."""

import subprocess
import sys
from importlib import import_module

import pytest

from onesigma.cli._commands import SUMMARIES


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_list_says_the_first_sentence_of_the_docstring(name: str) -> None:
    docstring = getattr(import_module(f"onesigma.cli.{name}"), name).__doc__
    assert SUMMARIES[name] == " ".join(docstring.split("\n\n")[0].split())


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

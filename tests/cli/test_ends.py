"""Whatever ends a run before its time is one line on stderr and an exit code; a traceback comes with --debug only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from onesigma.cli import main

MODELS = """
import sys
from torch import nn

def leaves():
    sys.exit(0)

def interrupted():
    raise KeyboardInterrupt

def wide():
    return nn.Linear(7, 2)

def weightless():
    return nn.Sequential(nn.ReLU())

class Narrow(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 2))

class Leaves(nn.Linear):
    def __init__(self, num_features):
        super().__init__(num_features, 2)

    def forward(self, x):
        sys.exit(0)
"""
DATA = "a,b\n1,2\n3,5\n4,4\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODELS)
    (tmp_path / "data.csv").write_text(DATA)
    return tmp_path


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["check"], "onesigma check: Missing argument 'MODEL'; see onesigma check --help."),
        (["rules", "--loud"], "No such option: --loud; see onesigma rules --help."),
        (["check", "net.py:leaves", "--data", "data.csv"], "leaves() raised SystemExit: 0"),
        (["check", "net.py:Leaves", "--data", "data.csv"], "sys.exit(0)"),
        (["standardize", "data.csv", "-o", "data.csv"], "data.csv: is among the data that are read"),
        (["standardize", "*.csv", "-o", "data.csv"], "data.csv: is among the data that are read"),
        (["standardize", ".", "-o", "data.csv"], "data.csv: is among the data that are read"),
        (["apply", "inputs.json", "data.csv", "-o", "data.csv"], "data.csv: is among the data that are read"),
        (
            ["check", "net.py:Leaves", "--data", "data.csv", "--fix", "--out", "data.csv"],
            "data.csv: is a file, and --fix makes a folder",
        ),
        (
            ["initialize", "net.py:Leaves", "--data", "data.csv", "-o", "i.pt", "--head", "nan"],
            "--head: wanted a factor",
        ),
        (["initialize", "net.py:Leaves", "--data", "data.csv", "-o", "i.pt", "--head", "-1"], "got -1"),
        (["check", "net.py:Leaves", "--data", "data.csv", "--seed", "9" * 30], "Invalid value for '--seed'"),
        (
            ["check", "net.py:Leaves", "--data", "data.csv", "--audit", "kaiming", "--truncated", "-3"],
            "a number of std above 0, got -3",
        ),
        (["check", "net.py:Leaves", "--task", "wild"], "'--task': 'wild' is not one of"),
        (["check", "net.py:Leaves", "--data", ""], "Invalid value for '--data': the name is empty"),
        (["standardize", "", "-o", "inputs.json"], "the name is empty; is a variable of your shell unset?"),
        (["standardize", "data.csv", "-o", " "], "Invalid value for '-o' / '--out': the name is empty"),
        (["check", "net.py:wide", "--data", "data.csv"], "MODEL 'net.py:wide', fed with (N, 2) float32 of data.csv"),
        (["initialize", "net.py:wide", "--data", "data.csv", "-o", "i.pt"], "fed with (N, 2) float32 of data.csv"),
        (
            ["initialize", "net.py:weightless", "--data", "data.csv", "-o", "i.pt"],
            "no layer was set (it has no weights)",
        ),
        (
            ["initialize", "net.py:Narrow", "--data", "data.csv", "-o", "i.pt", "--skip", "Linear"],
            "no layer was set (skipped as asked), so nothing is written",
        ),
        (
            ["gain", "net.py:wide"],
            "If net.py:wide makes a whole model, `onesigma check net.py:wide --data …` measures it.",
        ),
        (["check", "data.csv:build", "--data", "data.csv"], "neither a module's name nor a Python file"),
    ],
)
def test_a_run_that_cannot_be_is_one_line_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
) -> None:
    assert ended(*arguments) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert sorted(path.name for path in place.iterdir() if path.is_file()) == ["data.csv", "net.py"]
    assert (place / "data.csv").read_text() == DATA


@pytest.mark.usefixtures("place")
def test_an_interrupt_is_exit_code_130_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("check", "net.py:interrupted", "--data", "data.csv") == 130
    assert capsys.readouterr().err.startswith("interrupted")


@pytest.mark.usefixtures("place")
def test_debug_shows_where_an_error_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("check", "net.py:Leaves", "--data", "data.csv", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_warning_is_one_line_without_the_place_in_our_code(place: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), place / "flat.pt")
    (place / "flat.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(2, 2)\n")
    fold = ("fold", "flat.py:build", "--data", "data.csv", "--state", "flat.pt", "-o", "folded.pt")
    done = subprocess.run(
        [sys.executable, "-m", "onesigma", *fold], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == "warning: fold_ folded no norm: the model has no norm.\n"


def test_a_reader_who_leaves_is_told_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "onesigma", "gain", "--json"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_locale_without_the_signs_ends_no_run() -> None:
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "onesigma", "gain", "tanh"], env=ascii_only, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"1.592537" in done.stdout

"""`[tool.onesigma]`, the options above it, and the baseline, as `onesigma check` reads them."""

import json
from pathlib import Path

import pytest

from onesigma.cli import main

MODEL = """
import torch
from torch import nn


def loud(num_features):
    model = nn.Sequential(nn.Linear(num_features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    with torch.no_grad():
        model[0].weight.mul_(30)
        model[2].weight.mul_(30)
    return model
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(MODEL)
    rows = [f"{(i * 7) % 11 / 3 - 1.6:.3f},{(i * 5) % 13 / 4 - 1.5:.3f},{i % 2}" for i in range(200)]
    (tmp_path / "data.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[tuple[str, str]], str]:
    """Exit code, code and layer of every finding, and what was said on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["check", "net.py:loud", "--data", "data.csv", "--target", "label", "--format", "json", *arguments])
    shown = capsys.readouterr()
    found = json.loads(shown.out)["findings"] if shown.out else []
    return int(left.value.code or 0), [(each["code"], each["layer"]) for each in found], shown.err


def configured(place: Path, text: str) -> None:
    (place / "pyproject.toml").write_text(f"[tool.onesigma]\n{text}\n")


def test_the_nearest_pyproject_with_a_table_of_ours_is_read(place: Path, capsys, monkeypatch) -> None:
    configured(place, 'select = ["INI201"]\nper-layer-ignores = {"2" = ["INI201"]}')
    below = place / "deep" / "below"
    below.mkdir(parents=True)
    (below.parent / "pyproject.toml").write_text("[tool.ruff]\n")
    monkeypatch.chdir(below)
    (below / "net.py").write_text(MODEL)
    (below / "data.csv").write_bytes((place / "data.csv").read_bytes())
    assert run(capsys)[:2] == (1, [("INI201", "0")])


def test_limits_fail_on_and_ignores_of_the_table_hold(place: Path, capsys) -> None:
    configured(place, 'fail-on = "never"\nselect = ["INI2"]\nlimits = {INI201 = 1e9}\nignore = ["INI203"]')
    assert run(capsys)[:2] == (0, [])
    configured(place, 'select = ["INI201"]\nper-layer-limits = {"0" = {INI201 = 1e9}}')
    assert run(capsys)[:2] == (1, [("INI201", "2")])


def test_the_command_line_stands_above_the_table(place: Path, capsys) -> None:
    configured(place, 'select = ["INI201"]\nfail-on = "never"\nlimits = {INI201 = 1e9}\nignore = ["NRM"]')
    assert run(capsys, "--limit", "INI201=3")[1] == [("INI201", "0"), ("INI201", "2")]
    assert run(capsys, "--limit", "INI201:2=3")[1] == [("INI201", "2")]
    assert run(capsys, "--limit", "INI201=3", "--fail-on", "error")[0] == 1
    assert {code for code, _ in run(capsys, "--select", "ACT301")[1]} == {"ACT301"}
    assert run(capsys, "--limit", "INI201=3", "--ignore", "INI201:0")[1] == [("INI201", "2")]


def test_another_file_can_be_named(place: Path, capsys) -> None:
    (place / "strict.toml").write_text('[tool.onesigma]\nselect = ["ACT301"]\n')
    assert {code for code, _ in run(capsys, "--config", "strict.toml")[1]} == {"ACT301"}


def test_a_baseline_accepts_todays_findings_and_no_others(place: Path, capsys) -> None:
    base = ("--baseline", "accepted.json", "--select", "INI201")
    code, found, said = run(capsys, *base, "--write-baseline")
    assert (code, found) == (0, [])
    assert said.strip() == "2 findings accepted by accepted.json"
    assert run(capsys, *base)[:2] == (0, [])
    code, found, _ = run(capsys, "--baseline", "accepted.json", "--select", "INI201,ACT301")
    assert code == 1
    assert {each for each, _ in found} == {"ACT301"}


def test_what_an_audit_found_is_accepted_like_any_finding(place: Path, capsys) -> None:
    base = ("--audit", "kaiming", "--select", "INI207", "--baseline", "accepted.json")
    assert {found for found, _ in run(capsys, "--audit", "kaiming", "--select", "INI207")[1]} == {"INI207"}
    assert run(capsys, *base, "--write-baseline")[:2] == (0, [])
    assert run(capsys, *base)[:2] == (0, [])
    entries = json.loads((place / "accepted.json").read_text())["findings"]
    kept = [entry for entry in entries if entry["layer"] != "4"]
    (place / "accepted.json").write_text(json.dumps({"schema": "onesigma/baseline/1", "findings": kept}))
    assert run(capsys, *base)[:2] == (1, [("INI207", "4")])


def test_a_limit_of_a_loss_below_chance_is_negative(place: Path, capsys) -> None:
    assert run(capsys, "--limit", "LOS702=-0.5")[0] == 1


def test_stale_entries_are_told(place: Path, capsys) -> None:
    run(capsys, "--baseline", "accepted.json", "--select", "INI201", "--write-baseline")
    code, _, said = run(capsys, "--baseline", "accepted.json", "--select", "INI201", "--ignore", "INI201:2")
    assert code == 0
    assert "1 finding accepted by accepted.json; not found any more: INI201 at 2 (--write-baseline drops them)" in said


def test_the_baseline_of_the_table_lies_beside_the_table(place: Path, capsys, monkeypatch) -> None:
    configured(place, 'select = ["INI201"]\nbaseline = "accepted.json"')
    assert run(capsys, "--write-baseline")[0] == 0
    assert (place / "accepted.json").exists()
    below = place / "below"
    below.mkdir()
    (below / "net.py").write_text(MODEL)
    (below / "data.csv").write_bytes((place / "data.csv").read_bytes())
    monkeypatch.chdir(below)
    assert run(capsys)[:2] == (0, [])


@pytest.mark.parametrize(
    ("table", "arguments", "said"),
    [
        ('selects = ["INI"]', (), "pyproject.toml: [tool.onesigma] has no key 'selects'; did you mean 'select'?"),
        ('select = ["INX201"]', (), "pyproject.toml: select: no rule has the code 'INX201'"),
        ("limits = {INI201 = 'big'}", (), "must be a number, got 'big'"),
        ("select = [", (), "pyproject.toml: cannot be read as TOML"),
        ("", ("--config", "none.toml"), "--config: there is no file none.toml"),
        ("", ("--write-baseline",), "--write-baseline needs the file to write"),
        ("", ("--baseline", "none.json"), "none.json: cannot read the baseline"),
        ("", ("--baseline", "net.py"), "net.py: a baseline is JSON"),
        ("", ("--limit", "=3"), "no rule has the code ''"),
        ("", ("--limit", "INI201=-5"), "INI201 judges a number that is never below 0, and the limit is -5"),
        ("limits = {ACT301 = {error = -1}}", (), "(its own: info 0.05, warning 0.25, error 0.5)"),
        ("", ("--limit", "INI207=5"), "INI207 has no limit"),
        ("", ("--select", "INI", "--ignore", "INI"), "select=['INI'] and ignore=['INI'] leave no rule"),
        ("", ("--select", "INI207"), "INI207 holds weights against a recipe"),
        ("", ("--config", "odd.toml"), "odd.toml: wanted a table [tool.onesigma], got none"),
        ("", ("--config", "ruff.toml"), "ruff.toml: wanted a table [tool.onesigma], got none"),
        ("", ("--baseline", ""), "Invalid value for '--baseline': the name is empty"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(place: Path, capsys, table: str, arguments, said: str) -> None:
    configured(place, table)
    (place / "odd.toml").write_text("tool = 5\n")
    (place / "ruff.toml").write_text("[tool.ruff]\n")
    code, _, shown = run(capsys, *arguments)
    assert code == 2
    assert said in shown
    assert shown.count("\n") == 1

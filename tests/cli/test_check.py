"""`onesigma check` as a stranger uses it: the main job, and every way of calling it wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_wine

from onesigma.cli import main
from onesigma.inputs import standardize

MODEL = '''
"""A deep tanh network."""
import torch
from torch import nn


def build(num_features, num_classes):
    widths = [num_features] + [32] * 20
    hidden = [part for i in range(20) for part in (nn.Linear(widths[i], widths[i + 1]), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Linear(32, num_classes))


def unlabeled(num_features):
    return nn.Linear(num_features, 4)


def fixed():
    return nn.Linear(5, 3)


def stubborn(width):
    return nn.Linear(width, 3)


def raises():
    return nn.Linear(3, "4")


def text():
    return "a model"


number = 7
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    (folder / "net.py").write_text(MODEL)
    (folder / "broken.py").write_text("import torch\n\nfoo = 1 +\n")
    (folder / "fails.py").write_text("import torch\n\nraise RuntimeError('no weights here')\n")
    wine = load_wine()
    names = [name.replace("/", "_") for name in wine.feature_names]
    rows = [[*map(repr, map(float, row)), str(label)] for row, label in zip(wine.data, wine.target, strict=True)]
    lines = [[*names, "cultivar"], *rows]
    write(folder / "wine.csv", lines)
    write(folder / "text.csv", [[*line, "red" if i else "color"] for i, line in enumerate(lines)])
    write(folder / "gap.csv", [*lines[:5], ["", *lines[5][1:]], *lines[6:]])
    write(folder / "header.csv", lines[:1])
    (folder / "empty.csv").write_text("")
    return folder


def write(path: Path, lines: list[list[str]]) -> None:
    path.write_text("\n".join(",".join(line) for line in lines) + "\n")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_main_job_finds_repairs_and_proves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", place / "wine.csv", "--target", "cultivar")
    assert run("check", f"{place}/net.py:build", *data, "--format", "json") == 1
    before = json.loads(capsys.readouterr().out)
    assert before["schema"] == "onesigma/report/1"
    assert {"INP101", "INI201", "INI202", "ACT301"} <= {finding["code"] for finding in before["findings"]}

    out = place / "fixed"
    assert run("check", f"{place}/net.py:build", *data, "--fix", "--out", out) == 0
    assert str(out / "report.html") in capsys.readouterr().out.replace("\n", "")
    after = json.loads((out / "report.json").read_text())
    stds = [layer["output"]["std"] for layer in after["layers"] if layer["kind"] == "linear"]
    assert len(stds) == 21
    assert all(0.99 <= std <= 1.01 for std in stds)
    assert [finding for finding in after["findings"] if finding["severity"] != "info"] == []
    assert (out / "report.html").read_text().startswith("<!doctype html>")


def test_what_fix_wrote_loads_into_a_module_that_takes_raw_rows(place: Path) -> None:
    out = place / "loads"
    run("check", f"{place}/net.py:build", "--data", place / "wine.csv", "--target", "cultivar", "--fix", "--out", out)
    scope: dict[str, object] = {"__file__": str(out / "load.py")}
    exec((out / "load.py").read_text(), scope)
    net: dict[str, object] = {}
    exec(MODEL, net)
    loaded = scope["load"](net["build"](13, 3))  # type: ignore[operator]
    raw = torch.tensor(load_wine().data, dtype=torch.float32)
    hidden = loaded[1][:40](loaded[0](raw))
    # At width 32 one float32 pass differs from another by roundings alone.
    assert loaded[1][38](loaded[1][:38](loaded[0](raw))).std().item() == pytest.approx(1, abs=0.01)
    assert hidden.shape == (178, 32)


def test_norms_and_stripped_biases_survive_the_way_through_the_files(place: Path) -> None:
    out = place / "normed"
    arguments = ("--data", place / "wine.csv", "--target", "cultivar", "--fix", "--norm", "before", "--unsafe-fixes")
    run("check", f"{place}/net.py:build", *arguments, "--out", out)
    scope: dict[str, object] = {"__file__": str(out / "load.py")}
    exec((out / "load.py").read_text(), scope)
    net: dict[str, object] = {}
    exec(MODEL, net)
    loaded = scope["load"](net["build"](13, 3)).eval()  # type: ignore[operator]
    assert loaded(torch.tensor(load_wine().data[:4], dtype=torch.float32)).isfinite().all()


@pytest.mark.parametrize("format", ["text", "html", "sarif", "github", "junit"])
def test_every_format_is_written_to_stdout(place: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    arguments = ("--data", place / "wine.csv", "--target", "cultivar", "--format", format, "--fail-on", "never")
    assert run("check", f"{place}/net.py:build", *arguments) == 0
    assert capsys.readouterr().out.strip()


def test_without_a_target_the_forward_half_is_judged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", f"{place}/net.py:unlabeled", "--data", place / "wine.csv", "--select", "INP") == 1
    assert "INP101" in capsys.readouterr().out


WRONG = {
    "no colon": (["{}/net.py"], "wanted 'package.module:factory' or 'file.py:factory'"),
    "no file": (["{}/nte.py:build"], "did you mean"),
    "no module": (["no_such_module:build"], "there is no module 'no_such_module'"),
    "a syntax error": (["{}/broken.py:build"], "SyntaxError: invalid syntax (broken.py, line 3)"),
    "an import that raises": (["{}/fails.py:build"], "RuntimeError: no weights here (line 3)"),
    "no such factory": (["{}/net.py:biuld"], "did you mean 'build'?"),
    "no function": (["{}/net.py:number"], "wanted a function that returns an nn.Module, got int 7"),
    "no module back": (["{}/net.py:text"], "wanted an nn.Module from text(), got str"),
    "a factory that raises": (["{}/net.py:raises"], "raises() raised TypeError"),
    "an unknown parameter": (["{}/net.py:stubborn"], "its parameter 'width' has no default"),
    "shapes that do not fit": (["{}/net.py:fixed"], "mat1 and mat2 shapes cannot be multiplied"),
    "no data file": (["{}/net.py:build", "--data", "{}/none.csv"], "no such file"),
    "a missing target": (["{}/net.py:build", "--target", "cultivra"], "did you mean 'cultivar'?"),
    "a text column": (["{}/net.py:build", "--data", "{}/text.csv"], "'color'"),
    "a missing value": (["{}/net.py:build", "--data", "{}/gap.csv"], "'alcohol' 1; first in row 5"),
    "no rows": (["{}/net.py:build", "--data", "{}/header.csv"], "no rows"),
    "an empty file": (["{}/net.py:build", "--data", "{}/empty.csv"], "empty"),
    "an unknown code": (["{}/net.py:build", "--select", "INX"], "INX"),
    "a limit that is none": (["{}/net.py:build", "--limit", "INI201=much"], "wanted CODE=NUMBER"),
    "fix without a place": (["{}/net.py:build", "--fix"], "--out fixed/"),
    "a place without fix": (["{}/net.py:build", "--out", "{}/x"], "add --fix"),
    "a place that is a file": (["{}/net.py:build", "--fix", "--out", "{}/net.py"], "choose another --out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_one_line_and_exit_code_2(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    arguments, expected = WRONG[name]
    given = [argument.replace("{}", str(place)) for argument in arguments]
    given += [] if "--data" in given else ["--data", str(place / "wine.csv")]
    given += [] if "--target" in given else ["--target", "cultivar"]
    assert run("check", *given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert expected in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", f"{place}/net.py:fixed", "--data", place / "wine.csv", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_installed_command_says_its_version_and_shows_examples() -> None:
    command = [sys.executable, "-m", "onesigma"]
    shown = subprocess.run([*command, "check", "--help"], capture_output=True, text=True, check=True).stdout
    assert "onesigma check my_model.py:build --data" in shown
    assert "onesigma 0." in subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout


def test_initialize_writes_a_state_dict_that_loads(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "init.pt"
    assert (
        run("initialize", f"{place}/net.py:build", "--data", place / "wine.csv", "--target", "cultivar", "-o", out) == 0
    )
    assert "21 layers set, 0 left alone" in capsys.readouterr().out
    net: dict[str, object] = {}
    exec(MODEL, net)
    net["build"](13, 3).load_state_dict(torch.load(out, weights_only=True))  # type: ignore[operator]


def test_initialize_into_no_folder_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--data", place / "wine.csv", "--target", "cultivar", "-o", place / "none" / "init.pt")
    assert run("initialize", f"{place}/net.py:build", *arguments) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_statistics_are_held_against_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    standardize(place / "wine.csv").save(place / "stats.json")
    assert run("check", "--stats", place / "stats.json", place / "wine.csv") == 0
    assert "every column fits" in capsys.readouterr().out
    lines = [line.split(",") for line in (place / "wine.csv").read_text().splitlines()]
    shifted = [[str(float(value) + 1000) for value in line] for line in lines[1:]]
    write(place / "shifted.csv", [lines[0], *shifted])
    assert run("check", "--stats", place / "stats.json", place / "shifted.csv") == 1
    assert "INP106" in capsys.readouterr().out


def test_a_model_without_data_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", f"{place}/net.py:build") == 2
    assert "--data is missing" in capsys.readouterr().err


AUDITED = """
import torch
from torch import nn


def _lecun(layer):
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=layer.in_features ** -0.5)
        nn.init.zeros_(layer.bias)


def build(num_features, num_classes):
    return nn.Sequential(nn.Linear(num_features, 64), nn.Tanh(), nn.Linear(64, num_classes)).apply(_lecun)


def twice(num_features, num_classes):
    model = build(num_features, num_classes)
    nn.init.normal_(model[0].weight)
    return model


def wiped(num_features, num_classes):
    model = nn.Sequential(nn.BatchNorm1d(num_features), nn.Linear(num_features, num_classes))
    model.to_empty(device="cpu").apply(_lecun)
    nn.init.ones_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    model[0].running_mean.zero_()
    model[0].running_var.fill_(1)
    return model


def lost(num_features, num_classes):
    model = nn.Sequential(nn.Linear(num_features, 64), nn.Tanh(), nn.Linear(64, num_classes)).apply(_lecun)
    nn.utils.parametrizations.weight_norm(model[0])
    nn.init.zeros_(model[0].weight)
    return model


def uncut(num_features, num_classes):
    model = build(num_features, num_classes)
    with torch.no_grad():
        model[0].weight[0, 0] = 3.0
    return model
"""


@pytest.mark.parametrize(
    ("factory", "kinds"),
    [("build", set()), ("twice", {"doubly-set"}), ("wiped", {"wiped-buffer"}), ("lost", {"lost-under-weight-norm"}),
     ("uncut", {"no-op-truncation"})],
)  # fmt: skip
def test_the_audit_sees_how_the_factory_builds(
    place: Path, capsys: pytest.CaptureFixture[str], factory: str, kinds: set[str]
) -> None:
    (place / "audited.py").write_text(AUDITED)
    code = run(
        "check", f"{place / 'audited.py'}:{factory}", "--data", place / "wine.csv", "--target", "cultivar",
        "--audit", "lecun", "--truncated", 5, "--select", "NUM901,INI207", "--format", "json",
    )  # fmt: skip
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["name"] for finding in findings if finding["code"] == "INI207"} == kinds
    assert (code == 1) == bool(kinds)


@pytest.mark.parametrize("choice", [("--ignore", "INI207"), ("--select", "NUM"), ("--ignore", "off-recipe:*")])
def test_findings_of_the_audit_are_selected_like_any_other(
    place: Path, capsys: pytest.CaptureFixture[str], choice: tuple[str, str]
) -> None:
    (place / "audited.py").write_text(AUDITED)
    (place / "none.toml").write_text("")
    run(
        "check", f"{place / 'audited.py'}:twice", "--data", place / "wine.csv", "--target", "cultivar",
        "--audit", "lecun", *choice, "--config", place / "none.toml", "--format", "json",
    )  # fmt: skip
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert "INI207" not in {finding["code"] for finding in findings}


def test_truncated_without_audit_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("check", f"{place / 'net.py'}:build", "--data", place / "wine.csv", "--truncated", 3)
    assert code == 2
    assert "--audit" in capsys.readouterr().err

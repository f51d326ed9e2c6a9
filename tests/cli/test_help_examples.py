"""Every example that `--help` prints is run as printed, in a folder with the files that it names."""

import shlex
import shutil
from glob import glob
from importlib import import_module
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from onesigma.cli import main
from onesigma.cli._commands import SUMMARIES

MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_features, num_classes=2):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(num_features, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, num_classes or 2)

    def forward(self, x):
        return self.head(self.body(x))


build = Net


def act(x):
    return torch.tanh(x) * x.sigmoid()
"""

# A cluster of one's own is what this one needs.
ELSEWHERE = "--address"


def examples() -> list[str]:
    found = []
    for name in SUMMARIES:
        lines = (getattr(import_module(f"onesigma.cli.{name}"), name).__doc__ or "").splitlines()
        found += [line.strip() for line in lines if line.strip().startswith("onesigma ") and line.startswith(" " * 8)]
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user of the examples has lying there."""
    folder = tmp_path_factory.mktemp("examples")
    random = np.random.default_rng(0)
    for module in ("my_model.py", "my_layers.py", "package/models.py"):
        (folder / module).parent.mkdir(exist_ok=True)
        (folder / module).write_text(MODEL)
    wine = {name: random.normal(5, 2, 60) for name in ("acid", "sugar", "alcohol")} | {"quality": np.arange(60) % 3}
    trips = {"trip_distance": random.gamma(2, 2, 60), "hours": random.gamma(1, 1, 60), "fare": random.gamma(3, 4, 60)}
    weather = {"temp_day": random.normal(12, 5, 60), "temp_night": random.normal(4, 5, 60), "town": list("abcdef") * 10}
    for name in ("trips", "new_trips", "test"):
        pq.write_table(pa.table(trips), folder / f"{name}.parquet")
    for name in ("lake", "shards", "photos"):
        (folder / name).mkdir()
    for part in ("a", "b"):
        pq.write_table(pa.table(trips), folder / "lake" / f"{part}.parquet")
        write_csv(folder / "lake" / f"{part}.csv", trips)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / "photos" / f"{part}.png")
    write_csv(folder / "wine.csv", wine)
    write_csv(folder / "weather.csv", weather)
    save_file(
        {"fc.weight": torch.randn(8, 4, generator=torch.Generator().manual_seed(0))}, folder / "weights.safetensors"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for out in ("inputs", "january", "february", "shards/a", "shards/b"):
            assert ended(["standardize", "trips.parquet", "-o", f"{out}.json"]) == 0
        assert ended([*shlex.split("check my_model.py:build --data wine.csv --target quality --fix --out done")]) in (
            0,
            1,
        )
        for name in ("before", "after"):
            shutil.copy("done/report.json", f"{name}.json")
        shutil.copy("done/model.pt", "model.pt")
        assert ended(shlex.split(
            "check my_model.py:build --data wine.csv --baseline onesigma-baseline.json --write-baseline"
        )) in (0, 1)  # fmt: skip
    return folder


def write_csv(path: Path, columns: dict) -> None:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def as_a_shell_would(line: str) -> list[str]:
    """The words after `onesigma`, without comment and redirection; patterns without quotes become files."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    return [part for word in words for part in (glob(word) if "*" in word and f'"{word}"' not in line else [word])]


@pytest.mark.parametrize("line", [line for line in examples() if ELSEWHERE not in line])
def test_an_example_of_the_help_runs_as_printed(
    line: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    shutil.copytree(made, place)
    monkeypatch.chdir(place)
    arguments = as_a_shell_would(line)
    threads = torch.get_num_threads()
    # The demo trains for a while; that it runs is what matters here.
    code = ended([*arguments, "--steps", "1"] if arguments[0] == "demo" else arguments)
    torch.set_num_threads(threads)
    shown = capsys.readouterr()
    assert code in (0, 1), shown.err
    assert shown.out
    assert "Warning" not in shown.err


def test_there_are_examples_of_every_command() -> None:
    assert {shlex.split(line)[1] for line in examples()} == set(SUMMARIES)

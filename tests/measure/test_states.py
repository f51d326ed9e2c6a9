"""Weights without a model: what is read of files, and what of those is refused."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from onesigma._errors import ModelError, SourceError
from onesigma.measure import load_weights, measure_state
from onesigma.model.trace import ParameterRecord


def record(tensor: torch.Tensor, name: str = "weight") -> ParameterRecord:
    (found,) = measure_state({name: tensor}).parameters
    return found


def test_rows_alike_constant_and_zero_are_counted_apart() -> None:
    rows = torch.tensor([[1.0, 2, 3], [1, 2, 3], [5, 5, 5], [0, 0, 0], [0, 0, 0], [4, 5, 6], [6, 5, 4], [7, 7, 8]])
    found = record(rows)
    assert (found.duplicate_rows, found.constant_rows, found.zero_rows) == (2 / 8, 1 / 8, 2 / 8)


def test_one_column_is_no_constant_row() -> None:
    assert record(torch.tensor([[1.0], [2.0]])).constant_rows == 0


def test_masks_integers_and_empty_tensors_are_no_weights() -> None:
    mask = torch.full((4, 4), -torch.inf).triu(1)
    state = {"mask": mask, "ids": torch.arange(3), "none": torch.zeros(0, 3), "flag": torch.ones(2).bool()}
    assert measure_state({**state, "weight": torch.ones(2)}).parameters[0].name == "weight"
    assert len(measure_state({**state, "weight": torch.ones(2)}).parameters) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float64])
def test_every_kind_of_float_is_measured(dtype: torch.dtype) -> None:
    assert record(torch.tensor([[1.0, -1.0]]).to(dtype)).value.rms == pytest.approx(1)


def test_what_is_saved_around_the_weights_is_looked_through() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    for saved in (
        {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()},
        {"state_dict": model.state_dict(), "hyper": {"lr": torch.tensor(0.1)}},
        {"checkpoint": {"net": model.state_dict()}},
    ):
        assert [parameter.name for parameter in measure_state(saved).parameters] == ["weight", "bias"]


@pytest.mark.parametrize("state", [{}, {"a": 1}, {"a": {"b": "c"}}])
def test_a_state_without_tensors_is_refused(state: Any) -> None:
    with pytest.raises(ModelError, match=r"wanted model\.state_dict\(\)"):
        measure_state(state)


def test_every_format_gives_the_same_trace(tmp_path: Path) -> None:
    state = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict()
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "safe.safetensors", metadata={"format": "pt"})
    records = {path.name: measure_state(load_weights(path)).parameters for path in tmp_path.iterdir()}
    by_name = [sorted(found, key=lambda each: each.name) for found in records.values()]
    assert by_name[0] == by_name[1] == by_name[2]


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_a_file_that_wants_to_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    bait = tmp_path / "bait"
    torch.save({"weight": torch.ones(2), "evil": Evil(str(bait))}, tmp_path / "evil.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil(str(bait))))
    for name in ("evil.pt", "bare.pt"):
        with pytest.raises(SourceError, match="not read, for it holds more than tensors"):
            load_weights(tmp_path / name)
    assert not bait.exists()


def whole_model(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


BAD: dict[str, tuple[Any, str]] = {
    "missing.pt": (None, "there is no such file"),
    "empty.pt": (b"", "is empty"),
    "text.pt": (b"hello, these are no weights at all", "not read|not written by torch.save"),
    "cut.pt": (b"PK\x03\x04" + bytes(50), "not written by torch.save"),
    "short.safetensors": (b"\x02\x00", "not a safetensors file"),
    "huge.safetensors": (struct.pack("<Q", 1 << 60) + b"{}", "its header would be"),
    "nojson.safetensors": (struct.pack("<Q", 4) + b"abcd", "its header is no JSON"),
    "deep.safetensors": (struct.pack("<Q", 100_000) + b"[" * 100_000, "its header is no JSON"),
    "list.safetensors": (struct.pack("<Q", 2) + b"[]", "its header is a list"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    content, said = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=said) as refused:
        list(load_weights(tmp_path / name))
    assert "\n" not in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)


def test_a_pickled_model_is_refused_with_the_way_to_save_weights(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("model.pt", "list.pt"):
        with pytest.raises(SourceError, match=r"model\.state_dict\(\)"):
            load_weights(tmp_path / name)


@pytest.mark.parametrize(
    "entry",
    [
        3,
        {},
        {"dtype": "F32", "shape": [2], "data_offsets": [0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]},
        {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]},
    ],
)
def test_a_tensor_without_a_place_of_its_size_is_refused(tmp_path: Path, entry: Any) -> None:
    header = json.dumps({"weight": entry}).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(SourceError, match="tensor 'weight'"):
        list(load_weights(path))


@given(data=st.binary(max_size=200), length=st.integers(0, 300))
def test_no_bytes_whatever_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, length: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name, content in (("a.safetensors", struct.pack("<Q", length) + data), ("a.pt", data)):
        (folder / name).write_bytes(content)
        with pytest.raises((SourceError, ModelError)):
            measure_state(load_weights(folder / name))

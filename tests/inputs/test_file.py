"""A file of statistics: exact, readable, atomic, and no way in for anything else."""

import errno
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma import inputs
from onesigma._errors import ConfigError, ScalerFileError
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from onesigma.inputs import file as file_room
from onesigma.inputs.file import canonical
from onesigma.inputs.records import columns_from_rows, exact_text, rows_of_columns
from onesigma.inputs.scalers import ColumnScaler
from onesigma.numbers.columns import Columns

X = np.array([[1.0, -0.1, 5.0], [2.0, 0.2, 5.0], [4.5, np.nan, 5.0]])
SCALERS = [
    StandardScaler(with_std=False),
    StandardScaler(),
    MinMaxScaler(feature_range=(-0.3, 0.7), clip=True),
    MaxAbsScaler(),
    RobustScaler(quantile_range=(5.0, 95.0)),
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    StandardScaler().fit(X).save(tmp_path / "inputs.json", date="2026-11-22")
    return tmp_path / "inputs.json"


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the document and sign it anew, as an attacker would."""
    document = json.loads(path.read_text())
    del document["checksum"]
    change(document)
    document["checksum"] = file_room._checksum(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_what_was_saved_is_what_is_loaded(scaler: ColumnScaler, tmp_path: Path) -> None:
    scaler.fit(X).save(tmp_path / "a.json")
    loaded = inputs.load(tmp_path / "a.json")
    assert type(loaded) is type(scaler)
    assert loaded.get_params() == scaler.get_params()
    assert loaded.fingerprint == scaler.fingerprint
    np.testing.assert_array_equal(loaded.transform(X), scaler.transform(X))
    loaded.save(tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
@settings(deadline=None)
def test_rows_of_a_file_are_exact(values: list[float]) -> None:
    columns = Columns.of(np.array(values)[:, None], ["a"])
    rows = json.loads(json.dumps(rows_of_columns(columns)))
    assert (
        columns_from_rows(["count", "minimum", "maximum", "total", "squares"], rows).fingerprint == columns.fingerprint
    )


@given(st.fractions())
@settings(deadline=None)
def test_texts_of_dyadic_numbers_are_read_by_python_itself(value: Any) -> None:
    text = exact_text(value)
    number, _, divisor = text.partition("/")
    assert float.fromhex(number) / int(divisor or "1", 16) == pytest.approx(float(value), rel=2**-52)


def test_equal_statistics_give_equal_bytes_whatever_the_split(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(1e8, 1, (100, 4))
    StandardScaler().fit(x).save(tmp_path / "whole.json")
    parts = StandardScaler()
    for part in np.array_split(x[::-1], 7):
        parts.partial_fit(part)
    parts.save(tmp_path / "parts.json")
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_the_file_says_where_the_statistics_come_from(saved: Path) -> None:
    document = json.loads(saved.read_text())
    assert document["schema"] == "onesigma/inputs/1"
    assert document["provenance"] == {"rows": 3, "columns": 3, "correction": 0, "date": "2026-11-22"}
    assert document["columns"]["x1"] == [2, *document["columns"]["x1"][1:5], {"nans": 1}]


def test_provenance_survives_and_merging_lists_the_sources(tmp_path: Path) -> None:
    columns = Columns.of(X[:, :1], ["a"])
    one, other = (StandardScaler.from_columns(columns, provenance={"source": name}) for name in ("b.csv", "a.csv"))
    (one + other).save(tmp_path / "inputs.json")
    assert inputs.load(tmp_path / "inputs.json").provenance_ == {"source": ["a.csv", "b.csv"]}
    with pytest.raises(ConfigError, match=r"provenance\.frame"):
        StandardScaler.from_columns(columns, provenance={"frame": object()})


def test_ten_columns_of_floats_take_little_more_than_a_kilobyte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for dtype, size in ((np.float32, 1250), (np.float64, 1600)):
        StandardScaler().fit(rng.standard_normal((1000, 10)).astype(dtype)).save(tmp_path / "inputs.json")
        assert (tmp_path / "inputs.json").stat().st_size < size


def test_names_of_columns_may_be_anything(tmp_path: Path) -> None:
    names = ['a"b', "größe", "", "\n", "columns", "checksum"]
    scaler = StandardScaler.from_columns(Columns.of(np.eye(6), names))
    scaler.save(tmp_path / "inputs.json")
    assert list(inputs.load(tmp_path / "inputs.json").feature_names_in_) == names


def test_a_truncated_file_is_refused_at_every_length(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content) - 2, 7):
        saved.write_bytes(content[:length])
        with pytest.raises(ScalerFileError):
            inputs.load(saved)


def test_an_edited_file_is_refused_wherever_it_was_edited(saved: Path) -> None:
    content = saved.read_bytes()
    for position in range(0, len(content), 5):
        if chr(content[position]).isspace():
            continue
        saved.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ScalerFileError):
            inputs.load(saved)


def test_another_layout_of_the_same_content_is_welcome(saved: Path) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()), indent=4))
    assert inputs.load(saved).fingerprint == StandardScaler().fit(X).fingerprint


def test_a_newer_file_is_named_as_one(saved: Path) -> None:
    edit(saved, lambda document: document.update(schema="onesigma/inputs/2"))
    with pytest.raises(ScalerFileError, match="newer onesigma"):
        inputs.load(saved)


def test_another_kind_is_pointed_to_the_right_door(saved: Path) -> None:
    with pytest.raises(ScalerFileError, match=r"'minmax', got 'standard'; use onesigma.inputs.load"):
        MinMaxScaler.load(saved)
    edit(saved, lambda document: document.update(kind="quantum"))
    with pytest.raises(ScalerFileError, match="quantum"):
        inputs.load(saved)


def column(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["columns"].update(x0=value)


GOOD = [3, "0x1p0", "0x9p-1", "0xfp-1", "0x65p-2"]
HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "no list": column("0x1p0"),
    "four items": column(GOOD[:4]),
    "huge power": column([*GOOD[:4], "0x1p99999"]),
    "very huge power": column([*GOOD[:4], "0x1p" + "9" * 1000]),
    "endless digits": column([*GOOD[:4], "0x" + "f" * 1_000_000 + "p0"]),
    "nan": column([3, "nan", *GOOD[2:]]),
    "plain number": column([3, 1, *GOOD[2:]]),
    "division by zero": column([*GOOD[:4], "0x1p0/0x0"]),
    "negative count": column([-3, *GOOD[1:]]),
    "true for a count": column([True, *GOOD[1:]]),
    "huge count": column([2**64, *GOOD[1:]]),
    "negative variance": column([*GOOD[:4], "0x1p0"]),
    "mean outside of the bounds": column([3, "0x1p0", "0x1p0", *GOOD[3:]]),
    "unknown fact": column([*GOOD, {"color": "red"}]),
    "negative nans": column([*GOOD, {"nans": -1}]),
    "kind that is no text": column([*GOOD, {"kind": 5}]),
    "no columns": lambda document: document.update(columns={}),
    "columns in a list": lambda document: document.update(columns=[GOOD]),
    "other fields": lambda document: document.update(fields=["count"]),
    "key too many": lambda document: document.update(extra=1),
    "key too few": lambda document: document.pop("provenance"),
    "no parameters": lambda document: document.update(parameters={}),
    "text for a switch": lambda document: document["parameters"].update(with_mean="yes"),
    "number for a switch": lambda document: document["parameters"].update(with_mean=1),
    "lone surrogate": lambda document: document["columns"].update({"\ud800": GOOD}),
    "kind in a list": lambda document: document.update(kind=["standard"]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_signed_but_hostile_file_is_refused_in_one_line_at_once(saved: Path, change: Callable[..., None]) -> None:
    edit(saved, change)
    refused_quickly(saved)


def test_a_hostile_range_is_refused(tmp_path: Path) -> None:
    MinMaxScaler().fit(X).save(tmp_path / "m.json")
    for limits in (["0x1p0", "0x0p0"], ["0x0p0", "inf"], ["0x0p0"], ["0x0p0", "nan"], [0, 1], ["0x0p0", "0x1p99999"]):
        edit(tmp_path / "m.json", lambda document, limits=limits: document["parameters"].update(feature_range=limits))
        refused_quickly(tmp_path / "m.json")


def test_a_hostile_sketch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for row in ([0, 0, "AAAA"], [0, 0, "not base64"], [0, 0], [0, 0, 5], [-1, 0, ""], None, [0, 0, "CAAA" + "A" * 400]):
        RobustScaler().fit(X).save(path)
        edit(path, lambda document, row=row: document["columns"].update(x0=row))
        refused_quickly(path)


TEXTS = {
    "empty": b"",
    "null": b"null",
    "list": b"[1, 2]",
    "no utf-8": b'{"schema": "\xff"}',
    "zero bytes": b"\0" * 100,
    "deep": b"[" * 1_000_000,
    "deep records": b'{"a":' * 200_000,
    "digits": b'{"schema": ' + b"9" * 1_000_000 + b"}",
    "float": b'{"schema": 1e999999999}',
    "NaN": b'{"schema": NaN}',
    "twice": b'{"schema": "onesigma/inputs/1", "schema": "onesigma/inputs/1"}',
    "pickle": b"\x80\x04\x95\x00\x00\x00\x00",
    "a million columns": b'{"schema":"onesigma/inputs/1","columns":{'
    + b",".join(b'"%d":[]' % i for i in range(10**6))
    + b"}}",
    "a million keys, one twice": b"{" + b",".join(b'"%d":0' % i for i in range(10**6)) + b',"999999":0}',
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_what_is_no_such_file_is_refused_in_one_line_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "inputs.json").write_bytes(content)
    refused_quickly(tmp_path / "inputs.json", seconds=10)


def refused_quickly(path: Path, *, seconds: float = 5) -> None:
    start = time.perf_counter()
    with pytest.raises(ScalerFileError) as caught:
        inputs.load(path)
    assert time.perf_counter() - start < seconds
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "huge.json", "wb") as stream:
        stream.truncate(10 * 2**30)  # holes: it takes no room on the disk
    refused_quickly(tmp_path / "huge.json", seconds=1)


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing.json"):
        refused_quickly(path, seconds=1)


def test_a_full_disk_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ScalerFileError, match="No space left on device"):
        MinMaxScaler().fit(X).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_limit_on_file_size_leaves_the_old_file(saved: Path) -> None:
    resource = pytest.importorskip("resource")
    before, (soft, hard) = saved.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ScalerFileError, match="cannot be written"):
            MinMaxScaler().fit(X).save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_saving_keeps_links_and_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    StandardScaler().fit(X).save(target)
    target.chmod(0o640)
    link.symlink_to(target)
    MinMaxScaler().fit(X).save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert isinstance(inputs.load(target), MinMaxScaler)


def test_what_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "such.json"):
        with pytest.raises(ScalerFileError, match="cannot be written"):
            StandardScaler().fit(X).save(path)


def test_equal_values_have_one_canonical_text() -> None:
    assert canonical({"a": [1, None, True, "é"]}) == b'{"a":[1,null,true,"\\u00e9"]}'


def test_a_file_that_is_loaded_and_saved_is_the_same_file(tmp_path: Path) -> None:
    table, first, second = tmp_path / "table.csv", tmp_path / "first.json", tmp_path / "second.json"
    table.write_text("a,b\n1,2\n3,5\n")
    inputs.standardize(table).save(first)
    inputs.load(first).save(second)
    assert first.read_bytes() == second.read_bytes()
    more = inputs.load(first).partial_fit(pd.DataFrame({"a": [1.0], "b": [1.0]}))
    assert more.provenance_ == {"source": str(table)}

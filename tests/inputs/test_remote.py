"""Files behind URLs are tables like those here: the same bits, on any filesystem of pyarrow or fsspec."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import onesigma
from onesigma._errors import SourceError
from onesigma.inputs.scan import scan
from onesigma.inputs.sources import open_source

TABLE = pa.table({"x": np.random.default_rng(0).normal(1e8, 1.0, 500), "k": np.arange(500)})


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    for index in range(3):
        pq.write_table(TABLE.slice(200 * index, 200), folder / f"part-{index}.parquet", row_group_size=70)
    lines = [f"{x!r},{k}" for x, k in zip(TABLE["x"].to_pylist(), TABLE["k"].to_pylist(), strict=True)]
    (folder / "rows.csv").write_text("x,k\n" + "\n".join(lines) + "\n")
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in TABLE.to_pylist()))
    feather.write_feather(TABLE, str(folder / "rows.feather"))
    np.save(folder / "rows.npy", np.ones((3, 2)))
    return folder


def uploaded(lake: Path, scheme: str) -> str:
    if scheme == "file":
        return f"file://{lake}"
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install fsspec")
    fsspec.filesystem("memory").put(f"{lake}/", "/lake/", recursive=True)
    return "memory://lake"


@pytest.mark.parametrize("scheme", ["file", "memory"])
@pytest.mark.parametrize("name", ["*.parquet", "part-[0-2].parquet", "rows.csv", "rows.jsonl", "rows.feather"])
def test_a_url_is_read_with_the_bits_of_a_path(name: str, scheme: str, lake: Path) -> None:
    url = f"{uploaded(lake, scheme)}/{name}"
    assert scan(open_source(url)).to_bytes() == scan(open_source(TABLE)).to_bytes()


def test_engines_open_urls_on_their_own(lake: Path) -> None:
    expected = scan(open_source(TABLE)).to_bytes()
    scaler = onesigma.standardize(f"file://{lake}/*.parquet", engine="processes", address="1")
    assert scaler.columns_.to_bytes() == expected


def test_a_pass_over_urls_is_resumable_and_says_what_is_not_there(lake: Path, tmp_path: Path) -> None:
    source = open_source(f"file://{lake}/rows.csv")
    assert source.states[0].num_bytes == (lake / "rows.csv").stat().st_size
    assert source.states[0].modified_ns == (lake / "rows.csv").stat().st_mtime_ns
    scan(source, checkpoint=tmp_path / "scan", save_every=0)
    with pytest.raises(SourceError, match="no file is there"):
        open_source(f"file://{lake}/none-*.parquet")
    with pytest.raises(SourceError, match="no filesystem opens it"):
        open_source("nonsense://x/y.parquet")
    with pytest.raises(SourceError, match="only local ones are read; download it"):
        open_source(f"file://{lake}/rows.npy")

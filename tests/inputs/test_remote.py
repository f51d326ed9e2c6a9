"""Files behind URLs are tables like those here: the same bits, on any filesystem of pyarrow or fsspec."""

import gzip
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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
from onesigma.inputs.sources.web import Web

TABLE = pa.table({"x": np.random.default_rng(0).normal(1e8, 1.0, 500), "k": np.arange(500)})
MATRIX = np.random.default_rng(1).normal(size=(300, 3)).astype(">f4")
FORMATS = ["rows.csv", "rows.csv.gz", "rows.jsonl", "rows.feather", "rows.arrows", "rows.npz", "records.npy"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    for index in range(3):
        pq.write_table(TABLE.slice(200 * index, 200), folder / f"part-{index}.parquet", row_group_size=70)
    lines = [f"{x!r},{k}" for x, k in zip(TABLE["x"].to_pylist(), TABLE["k"].to_pylist(), strict=True)]
    (folder / "rows.csv").write_text("x,k\n" + "\n".join(lines) + "\n")
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in TABLE.to_pylist()))
    feather.write_feather(TABLE, str(folder / "rows.feather"))
    (folder / "rows.csv.gz").write_bytes(gzip.compress((folder / "rows.csv").read_bytes()))
    with pa.ipc.new_stream(str(folder / "rows.arrows"), TABLE.schema) as stream:
        stream.write_table(TABLE)
    columns = {name: TABLE[name].to_numpy() for name in TABLE.column_names}
    np.savez_compressed(folder / "rows.npz", **columns)
    np.save(folder / "records.npy", np.rec.fromarrays(list(columns.values()), names=list(columns)))
    np.save(folder / "matrix.npy", MATRIX)
    np.save(folder / "fortran.npy", np.asfortranarray(MATRIX))
    np.savez(folder / "matrix.npz", MATRIX)
    return folder


class Served(SimpleHTTPRequestHandler):
    """Files of a folder; parts of them only where asked for by `/parts/`."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        path, asked = Path(self.directory) / name, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if name == "secret.csv":
            return self.send_error(403)
        if not path.is_file():
            return self.send_error(404)
        data, parts = path.read_bytes(), asked is not None and "/parts/" in self.path
        if parts and not data:
            return self.send_error(416)
        start, stop = (int(asked[1]), min(int(asked[2]) + 1, len(data))) if parts else (0, len(data))
        self.send_response(206 if parts else 200)
        if parts:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])
        return None

    def log_message(self, *words: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server(lake: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Served, directory=str(lake))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def uploaded(lake: Path, scheme: str) -> str:
    if scheme == "file":
        return f"file://{lake}"
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install fsspec")
    fsspec.filesystem("memory").put(f"{lake}/", "/lake/", recursive=True)
    return "memory://lake"


@pytest.mark.parametrize("scheme", ["file", "memory"])
@pytest.mark.parametrize("name", ["*.parquet", "part-[0-2].parquet", *FORMATS])
def test_a_url_is_read_with_the_bits_of_a_path(name: str, scheme: str, lake: Path) -> None:
    url = f"{uploaded(lake, scheme)}/{name}"
    assert scan(open_source(url)).to_bytes() == scan(open_source(TABLE)).to_bytes()


@pytest.mark.parametrize("way", ["parts", "whole"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_web_server_is_read_whether_it_sends_parts_or_only_the_whole(name: str, way: str, server: str) -> None:
    assert scan(open_source(f"{server}/{way}/{name}")).to_bytes() == scan(open_source(TABLE)).to_bytes()
    parts = [f"{server}/{way}/part-{index}.parquet?version=2" for index in range(3)]
    assert scan(open_source(parts)).to_bytes() == scan(open_source(TABLE)).to_bytes()


@pytest.mark.parametrize("name", ["matrix.npy", "fortran.npy", "matrix.npz"])
def test_a_remote_matrix_has_the_bits_of_the_one_here(name: str, server: str, lake: Path) -> None:
    expected = scan(open_source(MATRIX)).to_bytes()
    for url in (f"{server}/parts/{name}", f"{uploaded(lake, 'memory')}/{name}"):
        assert scan(open_source(url)).to_bytes() == expected
        assert scan(open_source(url, ["x1"])).to_bytes() == scan(open_source(MATRIX, ["x1"])).to_bytes()


def test_a_folder_in_memory_is_a_table(lake: Path) -> None:
    uploaded(lake, "memory")
    sys.modules["fsspec"].filesystem("memory").put(f"{lake}/part-*", "/folder/deep/")
    for url in ("memory://folder", "memory://folder/", "memory://folder/deep/*.parquet"):
        assert scan(open_source(url)).to_bytes() == scan(open_source(TABLE)).to_bytes()


def test_workers_open_a_web_server_on_their_own(server: str) -> None:
    scaler = onesigma.standardize(f"{server}/parts/rows.csv", engine="processes", address="1")
    assert scaler.columns_.to_bytes() == scan(open_source(TABLE)).to_bytes()


def test_what_cannot_be_fetched_says_where_what_and_what_to_do(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, so that nobody else is there, but not listening
        port = held.getsockname()[1]
        wrong = {
            f"{server}/parts/none.csv": "the server knows no such file .*404.* is the address right",
            f"{server}/parts/secret.csv": "HTTP Error 403: Forbidden; is the address right",
            f"{server}/parts/*.csv": "a web server lists no files; name each one",
            f"http://127.0.0.1:{port}/x.csv": "the server cannot be reached: .*refused",
            "memory://nowhere/x.csv": "no file is there; is the address right",
            "memory://nowhere": "no file is there; is the address right",
        }
        for url, words in wrong.items():
            with pytest.raises(SourceError, match=words) as caught:
                open_source(url)
            assert str(caught.value).startswith(url)
            assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(SourceError, match=r"memory://x: no filesystem opens it .*; pip install fsspec"):
        open_source("memory://x")


def test_a_file_that_changes_while_it_is_read_is_refused(server: str, lake: Path) -> None:
    path = lake / "changing.npy"
    np.save(path, MATRIX)
    source = open_source(f"{server}/parts/changing.npy")
    with Web().open(f"{server}/parts/changing.npy") as file:
        np.save(path, MATRIX[:-1])
        with pytest.raises(OSError, match="changed while it was read"):
            file.read()
    path.unlink()
    with pytest.raises(SourceError, match=r"changing\.npy: cannot be read"):
        scan(source)


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

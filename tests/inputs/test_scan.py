"""A pass over files can be killed at any moment: it continues, and ends with the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onesigma._errors import SourceError
from onesigma.inputs.scan import Progress, Statistic, columns_of, map_merge, scan
from onesigma.inputs.sources import Block, open_source
from onesigma.numbers.columns import Columns


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three Parquet files of several row groups, and a CSV file."""
    folder = tmp_path_factory.mktemp("lake")
    rng = np.random.default_rng(0)
    for index in range(3):
        table = pa.table({"x": rng.normal(1e8, 1.0, 5000), "k": rng.integers(0, 2**62, 5000)})
        pq.write_table(table, folder / f"part-{index}.parquet", row_group_size=700)
    lines = "\n".join(f"{value:.6f},{index}" for index, value in enumerate(rng.normal(size=600_000)))
    (folder.parent / "rows.csv").write_text(f"x,k\n{lines}\n")
    return folder


# Imports once, then forks: each child passes over the data and is killed by SIGKILL when it has read so many blocks.
RUNNER = dedent("""
    import os, signal, sys, time
    from onesigma.inputs.scan import scan
    from onesigma.inputs.sources import open_source

    scan(open_source({"x": [1.5], "k": [1]}))  # loads the compiled loops
    data, checkpoint, result, *moments = sys.argv[1:]
    lag = 0.002
    for moment in [*map(float, moments), None]:
        ready, started = os.pipe()
        child = os.fork()
        if child == 0:
            def progress(_):
                os.write(started, b".")
                time.sleep(lag)
            columns = scan(open_source(data), checkpoint=checkpoint, save_every=0, progress=progress)
            open(result, "wb").write(columns.to_bytes())
            os._exit(0)
        if moment is not None:
            for _ in range(int(moment)):
                os.read(ready, 1)
            time.sleep(moment % 1 * lag)
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "done", os.path.exists(checkpoint), flush=True)
""")


@pytest.mark.parametrize(
    ("name", "moments"), [("lake/*.parquet", ["1.3", "3.9", "2.1", "5.7", "1.99"]), ("rows.csv", ["1.5", "2.2"])]
)
def test_a_pass_killed_at_any_moment_continues_to_the_same_bytes(
    name: str, moments: list[str], lake: Path, tmp_path: Path
) -> None:
    data = lake / name.removeprefix("lake/") if name.startswith("lake") else lake.parent / name
    checkpoint, result = tmp_path / "scan", tmp_path / "result"
    command = [sys.executable, "-c", RUNNER, str(data), str(checkpoint), str(result), *moments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert not done.returncode, done.stderr
    assert done.stdout.splitlines() == ["killed True"] * len(moments) + ["done False"]
    assert result.read_bytes() == scan(open_source(data)).to_bytes()


class Killed(Exception):
    """Stands for what ends a process."""


def stop_after(blocks: int, *, seen: list[Progress] | None = None) -> object:
    counter = iter(range(blocks))

    def progress(progress: Progress) -> None:
        if seen is not None:
            seen.append(progress)
        if next(counter, None) is None:
            raise Killed

    return progress


def interrupted(source: object, checkpoint: Path, *, blocks: int = 3) -> None:
    with pytest.raises(Killed):
        scan(source, checkpoint=checkpoint, save_every=0, progress=stop_after(blocks))  # type: ignore[arg-type]


def test_a_resumed_pass_reads_only_what_is_left(lake: Path, tmp_path: Path) -> None:
    source = open_source(lake)
    interrupted(source, tmp_path / "scan", blocks=10)
    seen: list[Progress] = []
    scan(source, checkpoint=tmp_path / "scan", progress=seen.append)
    assert seen[0].resumed_rows > 0
    assert seen[-1].num_rows == seen[-1].total_rows == 15_000
    assert not (tmp_path / "scan").exists()


def test_a_changed_file_is_refused_by_name(lake: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes((lake / "part-0.parquet").read_bytes())
    interrupted(open_source(path), tmp_path / "scan")
    os.utime(path, ns=(0, 0))
    with pytest.raises(SourceError, match=r"x\.parquet' changed since the interrupted pass began; delete"):
        scan(open_source(path), checkpoint=tmp_path / "scan")


def test_other_columns_are_refused(lake: Path, tmp_path: Path) -> None:
    interrupted(open_source(lake), tmp_path / "scan")
    with pytest.raises(SourceError, match="an interrupted pass with other columns or settings"):
        scan(open_source(lake, columns=["k"]), checkpoint=tmp_path / "scan")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data.replace(b"0", b"1"), lambda _: b""])
def test_a_damaged_checkpoint_is_not_believed(damage: object, lake: Path, tmp_path: Path) -> None:
    source, checkpoint = open_source(lake), tmp_path / "scan"
    interrupted(source, checkpoint)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))  # type: ignore[operator]
    assert scan(source, checkpoint=checkpoint) == scan(source)


def test_a_table_in_memory_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="only a pass over files can be resumed"):
        scan(open_source(np.ones((3, 1))), checkpoint=tmp_path / "scan")


def test_a_checkpoint_names_its_files_in_plain_json(lake: Path, tmp_path: Path) -> None:
    interrupted(open_source(lake), tmp_path / "scan")
    record = json.loads((tmp_path / "scan").read_bytes().partition(b"\n")[2])
    assert [Path(file["path"]).name for file in record["files"]] == [f"part-{index}.parquet" for index in range(3)]


def test_any_statistic_with_a_zero_and_a_merge_can_be_passed_over(lake: Path) -> None:
    rows = Statistic(
        name="rows", zero=0, of=lambda block: block.num_rows, merge=int.__add__, to_bytes=str.encode, from_bytes=int
    )
    assert map_merge(open_source(lake), rows) == 15_000


def test_shards_may_be_read_in_any_order_and_apart(lake: Path) -> None:
    source = open_source(lake)
    statistic = columns_of(source)

    def shard_state(index: int) -> Columns:
        state = statistic.zero
        for block in source.shards[index].blocks():
            state = statistic.merge(state, statistic.of(block))
        return state

    order = np.random.default_rng(0).permutation(len(source.shards))
    state = statistic.zero
    for index in order.tolist():
        state = statistic.merge(state, shard_state(index))
    assert state.to_bytes() == scan(source).to_bytes()


def test_reading_stops_with_the_error_of_the_block_that_failed() -> None:
    def blocks() -> object:
        yield np.ones((2, 1))
        raise RuntimeError("the loader broke")

    with pytest.raises(RuntimeError, match="the loader broke"):
        scan(open_source(blocks()))


def test_blocks_are_small(lake: Path) -> None:
    def size(block: Block) -> int:
        return int(block.nbytes)

    assert max(map(size, open_source(lake.parent / "rows.csv").blocks())) < 64 << 20

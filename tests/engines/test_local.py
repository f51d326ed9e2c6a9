"""Threads and processes give the bits of the plain pass; a part that fails counts once or not at all."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import onesigma
from onesigma._errors import ConfigError, EngineError, SourceError
from onesigma.engines import Processes, Threads, engine_named, tree_merged
from onesigma.inputs.scan import columns_of
from onesigma.inputs.sources import open_source
from onesigma.inputs.sources.source import Piece, shard_of
from onesigma.workflows.parts import Parcel, Part, Summary, join
from tests.engines.cases import REAL, hostile_lake, hostile_table, local_bytes, summed

pytestmark = pytest.mark.filterwarnings("ignore:.*left out:onesigma.OnesigmaWarning")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with engine_named("processes", address="2") as engine:
        yield engine


@pytest.mark.parametrize("name", REAL)
def test_threads_and_processes_equal_the_plain_pass_on_real_files(name: str, processes: Processes) -> None:
    if not REAL[name].exists():
        pytest.skip(f"{REAL[name].name} is not here")
    expected = local_bytes(REAL[name])
    assert summed(processes, REAL[name]) == expected
    assert onesigma.standardize(REAL[name], engine="threads").columns_.to_bytes() == expected


def test_threads_and_processes_equal_the_plain_pass_on_hostile_columns(lake: Path, processes: Processes) -> None:
    expected = local_bytes(lake)
    assert summed(processes, lake) == expected
    scaler = onesigma.standardize(lake, engine="threads", nonfinite="ignore")
    assert scaler.columns_.to_bytes() == expected


def test_a_table_in_memory_goes_to_processes(processes: Processes) -> None:
    table = hostile_table()
    assert summed(processes, table) == local_bytes(table)


def test_an_iterator_cannot_be_sent_and_says_what_to_do(processes: Processes) -> None:
    with pytest.raises(EngineError, match="pass files or arrays, or use engine='local'"):
        summed(processes, (np.ones((2, 2)) for _ in range(3)))


def killed_by_itself(part: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_is_an_error_and_no_result() -> None:
    with engine_named("processes", address="1") as engine, pytest.raises(EngineError, match=r"killed.*nothing was"):
        engine.map_merge([1, 2, 3], killed_by_itself, merge=join, zero=None)


class Flaky:
    """Blocks of a part that fails after its first block, on its first tries."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error

    def __call__(self, names: object, skip: int) -> Iterator[np.ndarray]:
        yield np.array([[1.0], [2.0]])
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        yield np.array([[4.0]])


def flaky_part(failures: int, error: Exception) -> Part:
    return Part(
        shards=(shard_of(Piece(read=Flaky(failures, error), name="x"), names=["x0"], cast=lambda block: block),)
    )


@pytest.mark.parametrize("error", [OSError("the disk stuttered"), RuntimeError("so did we")])
def test_a_part_that_raises_on_its_first_tries_is_counted_once(error: Exception) -> None:
    statistic = columns_of(open_source(np.array([[1.0], [2.0], [4.0]])))
    with engine_named("threads", address="2") as engine:
        parcel = engine.map_merge([flaky_part(2, error)], Summary.by(statistic), merge=join, zero=None)
        assert parcel.state.to_bytes() == local_bytes(np.array([[1.0], [2.0], [4.0]]))
        with pytest.raises((SourceError, RuntimeError), match=r"stuttered|so did we"):
            engine.map_merge([flaky_part(3, error)], Summary.by(statistic), merge=join, zero=None)


def test_data_that_are_wrong_are_not_read_again() -> None:
    part = flaky_part(1, SourceError("a row of text"))
    statistic = columns_of(open_source(np.array([[1.0]])))
    with pytest.raises(SourceError, match="a row of text"):
        Summary.by(statistic)(part)


def test_no_engine_is_known_by_another_name_and_a_missing_one_names_its_install_line() -> None:
    with pytest.raises(ConfigError, match="did you mean 'spark'"):
        onesigma.standardize([[1.0]], engine="sparc")
    code = "import sys; sys.modules['ray'] = None; import onesigma; onesigma.standardize([[1.0]], engine='ray')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: engine='ray' needs ray, which is not installed; pip install 'onesigma[ray]'." in done.stderr


def test_an_address_needs_an_engine() -> None:
    with pytest.raises(ConfigError, match="address='10' needs an engine"):
        onesigma.standardize([[1.0]], address="10")


def test_a_pass_on_an_engine_continues_one_of_another(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def stop(progress: object) -> None:
        raise Killed

    rng = np.random.default_rng(0)
    for index in range(8):
        np.save(tmp_path / f"part-{index}.npy", rng.normal(1e8, 1.0, (150_000, 1)))
    keeper, seen = tmp_path / "scan", []
    with pytest.raises(Killed):
        onesigma.standardize(tmp_path, engine="threads", address="1", checkpoint=keeper, progress=stop)
    assert keeper.exists()
    scaler = onesigma.standardize(tmp_path, checkpoint=keeper, progress=seen.append)
    assert scaler.columns_.to_bytes() == local_bytes(tmp_path)
    assert seen[0].resumed_rows == 4 * 150_000
    assert not keeper.exists()


def test_a_tree_merges_each_state_once_and_holds_few() -> None:
    depth = tree_merged(((1, 0) for _ in range(1000)), lambda a, b: (a[0] + b[0], max(a[1], b[1]) + 1), zero=(0, 0))
    assert depth[0] == 1000
    assert depth[1] <= 2 * 10  # levels of a binary tree, and as many for what is left over


def test_states_travel_in_at_most_200_bytes_a_column() -> None:
    rng = np.random.default_rng(0)
    for columns in (1, 3, 100):
        table = rng.normal(3.0, 2.0, (10_000, columns))
        state = Summary.by(columns_of(open_source(table)))(table_part(table))
        assert isinstance(state, Parcel)
        assert len(pickle.dumps(state)) <= 200 * columns


def table_part(table: np.ndarray) -> Part:
    return Part(shards=open_source(table).shards)


def test_threads_are_an_engine() -> None:
    engine = Threads(2)
    assert engine.map_merge([], sum, merge=lambda a, b: a + b, zero=0) == 0
    with pytest.raises(EngineError, match="is no dataset of this engine"):
        engine.example([1])


def test_a_driver_killed_between_two_waves_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lake, keeper = tmp_path / "lake", tmp_path / "scan"
    lake.mkdir()
    for index in range(12):
        np.save(lake / f"part-{index:02}.npy", rng.normal(1e8, 1.0, (150_000, 1)))
    code = (
        "import sys, time, onesigma; onesigma.standardize(sys.argv[1], engine='threads', address='1', "
        "checkpoint=sys.argv[2], progress=lambda _: time.sleep(60))"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, str(lake), str(keeper)])
    for _ in range(1200):
        if keeper.exists():
            break
        time.sleep(0.05)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    seen: list[object] = []
    scaler = onesigma.standardize(lake, engine="threads", address="2", checkpoint=keeper, progress=seen.append)
    assert scaler.columns_.to_bytes() == local_bytes(lake)
    assert seen[0].resumed_rows == 4 * 150_000
    assert not keeper.exists()

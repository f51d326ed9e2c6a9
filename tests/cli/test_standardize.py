"""`onesigma standardize` as a stranger uses it, and every way of calling it wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onesigma.cli import main
from onesigma.inputs import load
from onesigma.inputs.scan import scan
from onesigma.inputs.sources import open_source

DATA = Path(__file__).parents[3] / "shared" / "data"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code: object = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code or 0
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return code, " ".join(out.split()), " ".join(err.split())

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    columns = {"miles": np.append(rng.exponential(3.0, 4999), 224_481.0), "year": np.full(5000, 2022)}
    columns |= {"unix": 1.7e9 + rng.integers(0, 86_400, 5000) + 0.5, "color": np.array(["red"] * 5000)}
    pq.write_table(pa.table(columns), tmp_path / "trips.parquet", row_group_size=1000)
    return tmp_path / "trips.parquet"


def test_it_saves_the_statistics_and_shows_them_with_warnings(run: Run, table: Path) -> None:
    code, out, _ = run("standardize", table, "-o", table.with_name("inputs.json"))
    assert code == 0
    scaler = load(table.with_name("inputs.json"))
    assert list(scaler.columns_) == ["miles", "year", "unix"]
    assert "miles: ruled by outliers: the largest is 71 std from the mean and makes up 100 % of the variance" in out
    assert "year: constant" in out
    assert "unix: float32 loses 4.8 of 7.2 digits" in out
    assert "color: left out, text" in out
    assert f"5,000 rows × 3 columns, fingerprint {scaler.fingerprint[:12]}" in out


def test_the_taxi_file_names_its_longest_trip(run: Run, tmp_path: Path) -> None:
    path = DATA / "green_tripdata_2022-01.parquet"
    if not path.exists():
        pytest.skip("the folder of shared data is not here")
    code, out, _ = run("standardize", path, "-o", tmp_path / "inputs.json")
    assert code == 0
    assert "trip_distance: ruled by outliers: the largest is 77 std from the mean" in out


def test_columns_method_and_range_are_as_asked(run: Run, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "inputs.json"
    code, _, _ = run("standardize", table, "-o", out, "--columns", "unix,mil*", "--method", "minmax", "--range=-1,1")
    assert code == 0
    scaler = load(out)
    assert (scaler.kind, list(scaler.columns_)) == ("minmax", ["unix", "miles"])
    assert scaler.get_params()["feature_range"] == (-1.0, 1.0)


def test_several_files_are_one_table(run: Run, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.parquet"
    pq.write_table(pq.read_table(table).slice(0, 7), other)
    code, out, _ = run("standardize", table, other, "-o", tmp_path / "inputs.json")
    assert code == 0
    assert "5,007 rows" in out


def test_the_same_command_gives_the_same_bytes(run: Run, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "inputs.json"
    run("standardize", table, "-o", out)
    first = out.read_bytes()
    run("standardize", table, "-o", out)
    assert out.read_bytes() == first


def test_an_interrupted_run_is_continued_or_forgotten(run: Run, table: Path, tmp_path: Path) -> None:
    class Killed(Exception):
        """Stands for what ends a process."""

    def die(_: object) -> None:
        raise Killed

    out, checkpoint = tmp_path / "inputs.json", tmp_path / "inputs.json.scan"
    run("standardize", table, "-o", out)
    whole = out.read_bytes()
    with pytest.raises(Killed):
        scan(open_source(table), checkpoint=checkpoint, save_every=0, progress=die)
    assert checkpoint.exists()
    code, _, _ = run("standardize", table, "-o", out)
    assert (code, out.read_bytes(), checkpoint.exists()) == (0, whole, False)

    with pytest.raises(Killed):
        scan(open_source(table), checkpoint=checkpoint, save_every=0, progress=die)
    code, _, err = run("standardize", table, "-o", out, "--columns", "miles")
    assert code == 2
    assert "an interrupted pass with other columns or settings; repeat its command, or delete it" in err
    assert run("standardize", table, "-o", out, "--columns", "miles", "--restart")[0] == 0


def test_infinities_are_refused_or_left_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,inf\n2,3\n5,-inf\n")
    code, _, err = run("standardize", tmp_path / "t.csv", "-o", tmp_path / "inputs.json")
    assert code == 2
    assert "2 infinite values in 'b' (2); mend them" in err
    assert not (tmp_path / "inputs.json").exists()
    code, out, _ = run("standardize", tmp_path / "t.csv", "-o", tmp_path / "inputs.json", "--nonfinite", "ignore")
    assert code == 0
    assert "b: constant; 2 infinite values left out" in out


def test_decimal_text_is_exact_on_request(run: Run, tmp_path: Path) -> None:
    rows = "\n".join(["10000000.2", *["10000000.1", "10000000.3"] * 500])
    (tmp_path / "numacc4.csv").write_text(f"y\n{rows}\n")
    run("standardize", tmp_path / "numacc4.csv", "-o", tmp_path / "inputs.json", "--decimal")
    assert load(tmp_path / "inputs.json").columns_["y"].std(correction=1) == 0.1


WRONG = {
    "no such file": (["gone.parquet"], "no such file or folder"),
    "missing column": (["trips.parquet", "--columns", "mile"], "no column 'mile'; did you mean 'miles'"),
    "text column": (["trips.parquet", "--columns", "color"], "column 'color' must hold numbers, but it is text"),
    "empty file": (["empty.csv"], "the file is empty (0 bytes)"),
    "empty folder": (["hollow"], "the folder holds no"),
    "header alone": (["header.csv"], "but no rows"),
    "ragged": (["ragged.csv"], "line 3 has 3 values, 2 wanted"),
    "damaged": (["damaged.parquet"], "is the file damaged"),
    "range for standard": (["trips.parquet", "--range", "0,1"], "--range goes with --method minmax"),
    "bad range": (["trips.parquet", "--method", "minmax", "--range", "one"], "wanted two numbers"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_call_is_one_line_and_exit_code_2(kind: str, run: Run, table: Path) -> None:
    folder = table.parent
    (folder / "empty.csv").touch()
    (folder / "hollow").mkdir()
    (folder / "header.csv").write_text("a,b\n")
    (folder / "ragged.csv").write_text("a,b\n1,2\n3,4,5\n")
    (folder / "damaged.parquet").write_bytes(table.read_bytes()[:-40] + table.read_bytes()[-8:])
    (data, *options), message = WRONG[kind]
    code, out, err = run("standardize", folder / data, "-o", folder / "inputs.json", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (folder / "inputs.json").exists()


def test_a_folder_for_the_file_that_is_not_there_is_refused_before_reading(run: Run, table: Path) -> None:
    code, _, err = run("standardize", table, "-o", table.parent / "no" / "inputs.json")
    assert code == 2
    assert "does not exist; create it first" in err


def test_help_has_examples(run: Run) -> None:
    for command in ("standardize", "apply", "merge"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"onesigma {command}" in out


def test_the_file_is_json_with_its_provenance(run: Run, table: Path, tmp_path: Path) -> None:
    run("standardize", table, "-o", tmp_path / "inputs.json")
    provenance = json.loads((tmp_path / "inputs.json").read_text())["provenance"]
    assert provenance["source"] == str(table)
    assert {"rows", "columns", "correction", "date"} <= set(provenance)


class TestApply:
    """`onesigma apply`."""

    def test_other_columns_pass_through(self, run: Run, table: Path, tmp_path: Path) -> None:
        run("standardize", table, "-o", tmp_path / "inputs.json")
        code, out, _ = run("apply", tmp_path / "inputs.json", table, "-o", tmp_path / "scaled.parquet")
        assert code == 0
        assert "5,000 rows, 3 columns scaled" in out
        scaled, raw = pq.read_table(tmp_path / "scaled.parquet"), pq.read_table(table)
        assert scaled["color"].equals(raw["color"])
        assert abs(scaled["unix"].to_numpy().mean()) < 1e-12  # 5000 roundings of 1e-16 each
        assert scaled["year"].to_numpy().tolist() == [0.0] * 5000

    @pytest.mark.parametrize(
        ("stats", "out", "message"),
        [
            ("inputs.json", "o.xlsx", "cannot write .xlsx; use .parquet"),
            ("inputs.json", "no/o.csv", "does not exist; create it first"),
            ("gone.json", "o.csv", "gone.json"),
            ("trips.parquet", "o.csv", "trips.parquet"),
        ],
    )
    def test_a_wrong_call_is_one_line(self, stats: str, out: str, message: str, run: Run, table: Path) -> None:
        run("standardize", table, "-o", table.with_name("inputs.json"))
        code, _, err = run("apply", table.with_name(stats), table, "-o", table.parent / out)
        assert code == 2
        assert message in err
        assert "Traceback" not in err


class TestMerge:
    """`onesigma merge`."""

    def test_parts_merge_to_the_whole_in_any_order(self, run: Run, table: Path, tmp_path: Path) -> None:
        whole = pq.read_table(table).select(["miles", "unix"])
        for name, part in (("a", whole.slice(0, 1234)), ("b", whole.slice(1234, 1)), ("c", whole.slice(1235))):
            pq.write_table(part, tmp_path / f"{name}.parquet")
            run("standardize", tmp_path / f"{name}.parquet", "-o", tmp_path / f"{name}.json")
        pq.write_table(whole, tmp_path / "whole.parquet")
        run("standardize", tmp_path / "whole.parquet", "-o", tmp_path / "whole.json")
        for order in ("abc", "cab"):
            code, _, _ = run("merge", *(tmp_path / f"{name}.json" for name in order), "-o", tmp_path / "merged.json")
            assert code == 0
            assert load(tmp_path / "merged.json").fingerprint == load(tmp_path / "whole.json").fingerprint

    def test_files_that_do_not_fit_are_named(self, run: Run, table: Path, tmp_path: Path) -> None:
        run("standardize", table, "-o", tmp_path / "a.json", "--columns", "miles")
        run("standardize", table, "-o", tmp_path / "b.json", "--columns", "unix")
        code, _, err = run("merge", tmp_path / "a.json", tmp_path / "b.json", "-o", tmp_path / "m.json")
        assert code == 2
        assert "a.json and " in err
        assert "columns differ" in err
        assert not (tmp_path / "m.json").exists()

    def test_one_file_is_not_enough(self, run: Run, table: Path, tmp_path: Path) -> None:
        run("standardize", table, "-o", tmp_path / "a.json")
        code, _, err = run("merge", tmp_path / "a.json", "-o", tmp_path / "m.json")
        assert code == 2
        assert "two or more files" in err


def test_an_engine_writes_the_same_bytes(run: Run, table: Path, tmp_path: Path) -> None:
    run("standardize", table, "-o", tmp_path / "here.json")
    code, _, _ = run("standardize", table, "-o", tmp_path / "there.json", "--engine", "threads", "--address", "3")
    assert code == 0
    assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()
    code, _, err = run("standardize", table, "-o", tmp_path / "x.json", "--address", "tcp://127.0.0.1:9")
    assert code == 2
    assert "address='tcp://127.0.0.1:9' needs an engine" in err

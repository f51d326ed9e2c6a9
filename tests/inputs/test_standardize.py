"""From any table to a fitted scaler; what it refuses; its table of columns; whether statistics fit."""

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
import torch

from onesigma._errors import ConfigError, OnesigmaWarning, OutputError, SourceError
from onesigma.inputs.apply import apply
from onesigma.inputs.check_stats import CONSTANTS, check_stats
from onesigma.inputs.condition import conditions_of
from onesigma.inputs.scan import Statistic
from onesigma.inputs.sources import Source
from onesigma.inputs.standardize import standardize
from onesigma.numbers.columns import Columns

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def table() -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table({"miles": rng.lognormal(3.0, 1.0, 500), "stars": rng.integers(1, 6, 500), "color": ["red"] * 500})


def numeric(table: pa.Table) -> pa.Table:
    return table.select(["miles", "stars"])


def test_a_scaler_fitted_from_any_source_has_one_fingerprint(table: pa.Table, tmp_path: Path) -> None:
    numbers = numeric(table)
    pq.write_table(numbers, tmp_path / "t.parquet", row_group_size=100)
    arrow_csv.write_csv(numbers, tmp_path / "t.csv")
    sources = [tmp_path / "t.parquet", tmp_path / "t.csv", numbers, numbers.to_pandas(), numbers.to_batches(33)]
    assert len({standardize(source).fingerprint for source in sources}) == 1


def test_columns_of_text_are_left_out_with_a_warning(table: pa.Table) -> None:
    with pytest.warns(OnesigmaWarning, match=r"left out 'color' is text"):
        scaler = standardize(table)
    assert list(scaler.columns_) == ["miles", "stars"]


@pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
def test_every_method_fits_as_its_class_does(method: Any, table: pa.Table) -> None:
    if method == "robust":
        pytest.importorskip("datasketches")
    scaler = standardize(numeric(table), method=method)
    frame = numeric(table).to_pandas()
    by_class = type(scaler)().fit(frame)
    np.testing.assert_array_equal(scaler.transform(frame), by_class.transform(frame))
    assert scaler.kind == method


def test_parameters_of_the_method_pass_through() -> None:
    scaler = standardize({"x": [0.0, 10.0]}, method="minmax", feature_range=(-1, 1))
    assert scaler.transform(pd.DataFrame({"x": [0.0, 10.0]})).ravel().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "standart"}, "method='standart' is not known; did you mean 'standard'"),
        ({"method": "minmax", "feature_rang": (0, 1)}, "feature_rang"),
        ({"engine": "ray"}, "engine='ray' is not in this version"),
        ({"nonfinite": "skip"}, "nonfinite must be 'raise' or 'ignore'"),
    ],
)
def test_an_unknown_setting_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        standardize({"x": [1.0]}, **options)


def test_an_engine_shares_out_the_shards_in_any_order(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(numeric(table), tmp_path / "t.parquet", row_group_size=50)

    def backwards(source: Source, statistic: Statistic[Any]) -> Any:
        states = [statistic.of(block) for shard in source.shards[::-1] for block in shard.blocks()]
        return reduce(statistic.merge, states, statistic.zero)

    path = tmp_path / "t.parquet"
    assert standardize(path, engine=backwards).fingerprint == standardize(path).fingerprint


def test_infinities_are_an_error_that_counts_and_names_them() -> None:
    table = {"a": [1.0, math.inf, -math.inf], "b": [1.0, 2.0, math.inf], "c": [1.0, 2.0, 3.0]}
    with pytest.raises(SourceError, match=r"3 infinite values in 'a' \(2\), 'b' \(1\); mend them.*nonfinite='ignore'"):
        standardize(table)
    scaler = standardize(table, nonfinite="ignore")
    assert (scaler.columns_["a"].count, scaler.columns_["a"].mean) == (1, 1.0)


def test_zero_rows_are_an_error_that_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "header.csv").write_text("a,b\n")
    for source in (tmp_path / "header.csv", np.zeros((0, 2)), pd.DataFrame({"a": np.zeros(0)})):
        with pytest.raises(SourceError, match="but no rows; at least one row is wanted"):
            standardize(source)


def test_one_row_is_a_table_of_constants() -> None:
    scaler = standardize({"a": [3.0], "b": [-2.0]})
    assert scaler.transform(pd.DataFrame({"a": [3.0, 4.0], "b": [-2.0, 0.0]})).tolist() == [[0.0, 0.0], [1.0, 2.0]]


def test_a_column_of_nan_stays_nan_and_is_told() -> None:
    scaler = standardize({"a": [math.nan, math.nan], "b": [1.0, 3.0]})
    assert scaler.columns_["a"].count == 0
    (empty, fine) = conditions_of(scaler.columns_)
    assert (empty.missing, empty.warnings) == (2, ("holds no value",))
    assert fine.warnings == ()


def test_the_provenance_says_source_and_date_of_the_files(table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(numeric(table), tmp_path / "t.parquet")
    standardize(tmp_path / "t.parquet").save(tmp_path / "inputs.json")
    first = (tmp_path / "inputs.json").read_bytes()
    standardize(tmp_path / "t.parquet").save(tmp_path / "inputs.json")
    assert (tmp_path / "inputs.json").read_bytes() == first  # On any day: the date is the data's.
    provenance = json.loads(first)["provenance"]
    assert provenance["source"] == str(tmp_path / "t.parquet")
    assert provenance["date"].startswith("20")


class TestConditions:
    """What a column's moments give away."""

    def warnings(self, values: Any) -> str:
        return "; ".join(conditions_of(Columns.of({"x": np.asarray(values)}))[0].warnings)

    def test_the_taxi_file_is_ruled_by_its_longest_trip(self) -> None:
        path = DATA / "green_tripdata_2022-01.parquet"
        if not path.exists():
            pytest.skip("the folder of shared data is not here")
        scaler = standardize(path, columns=["trip_distance", "PULocationID"])
        distance, place = conditions_of(scaler.columns_)
        assert distance.maximum == 224481.38
        assert distance.warnings[0].startswith("ruled by outliers: the largest is 77 std from the mean")
        assert place.warnings == ()

    def test_a_constant_is_named(self) -> None:
        assert self.warnings([14.62] * 7) == "constant"

    @pytest.mark.parametrize("seed", range(5))
    def test_ordinary_columns_have_no_warning(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for values in (rng.normal(size=50), rng.uniform(size=10_000), rng.exponential(size=10_000), rng.random(3)):
            assert self.warnings(values) == ""

    def test_a_rare_flag_is_no_outlier(self) -> None:
        assert self.warnings([0.0] * 99_999 + [1.0]) == ""

    def test_unix_time_loses_digits_in_float32(self) -> None:
        assert self.warnings(1.7e9 + np.arange(0, 86_400, 7.5)).startswith("float32 loses 4.8 of 7.2 digits")

    def test_years_do_not(self) -> None:
        assert self.warnings(np.arange(2000, 2005)) == ""

    def test_what_float32_cannot_hold_is_told(self) -> None:
        assert "too large for float32" in self.warnings([1e300, 2e300])


class TestApply:
    """A scaler applied to a table, from any format to any other."""

    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather", ".arrow", ".npy", ".tsv"])
    def test_a_scaled_file_holds_what_transform_gives(self, suffix: str, table: pa.Table, tmp_path: Path) -> None:
        scaler = standardize(numeric(table))
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=99)
        out = tmp_path / f"out{suffix}"
        assert apply(scaler, tmp_path / "t.parquet", to=out) == 500
        expected = scaler.transform(numeric(table).to_pandas())
        if suffix == ".npy":
            np.testing.assert_array_equal(np.load(out), expected)
            return
        back = pd.read_csv(out, sep="\t" if suffix == ".tsv" else ",") if suffix[1:] in ("csv", "tsv") else None
        back = pd.read_parquet(out) if suffix == ".parquet" else back
        back = pd.read_feather(out) if suffix in (".feather", ".arrow") else back
        assert back is not None
        np.testing.assert_array_equal(back[["miles", "stars"]].to_numpy(), expected)
        assert back["color"].tolist() == ["red"] * 500
        assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "t.parquet", out])

    def test_missing_stays_missing(self, tmp_path: Path) -> None:
        scaler = standardize({"x": [1.0, 3.0]})
        apply(scaler, pa.table({"x": [1.0, None, float("nan")]}), to=tmp_path / "o.parquet")
        column = pq.read_table(tmp_path / "o.parquet")["x"]
        assert column.null_count == 1
        assert column[0].as_py() == -1.0
        assert math.isnan(column[2].as_py())

    def test_float32_stays_float32_unless_asked(self, tmp_path: Path) -> None:
        x = np.array([[1.0], [3.0]], dtype=np.float32)
        scaler = standardize(x)
        for dtype, expected in ((None, np.float32), ("float64", np.float64)):
            apply(scaler, x, to=tmp_path / "o.npy", dtype=dtype)
            assert np.load(tmp_path / "o.npy").dtype == expected

    def test_only_leaves_the_other_columns_out(self, table: pa.Table, tmp_path: Path) -> None:
        apply(standardize(numeric(table)), table, to=tmp_path / "o.parquet", only=True)
        assert pq.read_schema(tmp_path / "o.parquet").names == ["miles", "stars"]

    def test_a_table_without_a_fitted_column_is_refused(self, table: pa.Table, tmp_path: Path) -> None:
        scaler = standardize(numeric(table))
        with pytest.raises(SourceError, match="no column 'miles', which was fitted; did you mean 'mile'"):
            apply(scaler, table.rename_columns(["mile", "stars", "color"]), to=tmp_path / "o.parquet")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["o.xlsx", "o"])
    def test_a_format_that_is_not_written_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot write"):
            apply(standardize({"x": [1.0]}), {"x": [1.0]}, to=tmp_path / name)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="does not exist; create it first"):
            apply(standardize({"x": [1.0]}), {"x": [1.0]}, to=tmp_path / "no" / "o.csv")

    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".feather", ".npy"])
    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, suffix: str, tmp_path: Path) -> None:
        x = np.random.default_rng(0).normal(size=(200_000, 4))
        scaler, out = standardize(x), tmp_path / f"o{suffix}"
        out.write_bytes(b"old")
        with file_size_limit(1 << 20), pytest.raises(OutputError, match="cannot be written"):
            apply(scaler, x, to=out)
        assert out.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [out]

    def test_an_error_while_reading_leaves_nothing(self, tmp_path: Path) -> None:
        rows = "\n".join(["1.5"] * 700_000 + ["many"])
        (tmp_path / "t.csv").write_text(f"a\n{rows}\n")
        with pytest.raises(SourceError, match="got 'many' in row 700001"):
            apply(standardize({"a": [1.0, 2.0]}), tmp_path / "t.csv", to=tmp_path / "o.parquet")
        assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: the kernel answers as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestCheckStats:
    """INP106: do these statistics fit this data?"""

    @pytest.fixture
    def raw(self) -> pd.DataFrame:
        rng = np.random.default_rng(0)
        return pd.DataFrame({"miles": rng.normal(500.0, 30.0, 2000), "hue": rng.normal(0.9, 0.2, 2000)})

    @pytest.mark.parametrize("method", ["standard", "minmax", "maxabs", "robust"])
    def test_the_data_they_were_fitted_to_fit(self, method: Any, raw: pd.DataFrame, tmp_path: Path) -> None:
        standardize(raw, method=method).save(tmp_path / "inputs.json")
        assert check_stats(tmp_path / "inputs.json", raw) == []

    @pytest.mark.parametrize("method", ["standard", "minmax"])
    def test_data_that_are_scaled_already_are_told(self, method: Any, raw: pd.DataFrame) -> None:
        scaler = standardize(raw, method=method)
        scaled = pd.DataFrame(scaler.transform(raw), columns=raw.columns)
        assert "applied-already" in {found.cause for found in check_stats(scaler, scaled)}
        assert check_stats(scaler, scaled, applied=True) == []

    def test_data_that_should_be_scaled_and_are_not_or_twice_are_told(self, raw: pd.DataFrame) -> None:
        scaler = standardize(raw)
        once = pd.DataFrame(scaler.transform(raw), columns=raw.columns)
        twice = pd.DataFrame(scaler.transform(once), columns=raw.columns)
        assert {found.cause for found in check_stats(scaler, raw, applied=True)} == {"not-applied"}
        assert {found.cause for found in check_stats(scaler, twice, applied=True)} == {"applied-twice"}

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            (lambda x: x + 100.0, "mean-off"),
            (lambda x: (x - 500.0) * 2.5 + 500.0, "scale-off"),
            (lambda x: x * 1000.0, "unit-off"),
            (lambda x: x * 0.0 + 700.0, "mean-off"),
        ],
    )
    def test_what_is_off_is_named(self, change: Any, cause: str, raw: pd.DataFrame) -> None:
        (found,) = check_stats(standardize(raw), raw.assign(miles=change(raw["miles"])))
        assert (found.column, found.cause) == ("miles", cause)
        assert found.value > found.limit if found.limit > 0.5 else found.value < found.limit

    def test_a_missing_column_and_a_former_constant_are_named(self, raw: pd.DataFrame) -> None:
        scaler = standardize(raw.assign(year=2022))
        causes = {
            found.column: found.cause for found in check_stats(scaler, raw.drop(columns="hue").assign(year=raw.hue))
        }
        assert causes == {"hue": "missing-column", "year": "was-constant"}

    def test_pixels_never_divided_by_255_do_not_fit_imagenet(self) -> None:
        pixels = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0))
        assert {found.cause for found in check_stats("imagenet", pixels.double())} == {"unit-off"}
        # As bytes they are pixels, and ToTensor will divide them.
        assert "unit-off" not in {found.cause for found in check_stats("imagenet", pixels.to(torch.uint8))}

    def test_the_mean_of_stds_is_called_that(self) -> None:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in CONSTANTS["cifar10"][:2])
        images = mean + 1.22 * std * torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert {found.cause for found in check_stats("cifar10", images)} == {"mean-of-stds"}

    def test_the_number_of_channels_must_fit(self) -> None:
        with pytest.raises(SourceError, match="3 channels are wanted, got 1"):
            check_stats("imagenet", np.zeros((4, 1)))

    def test_few_rows_are_judged_mildly(self, raw: pd.DataFrame) -> None:
        scaler = standardize(raw)
        for start in range(0, 200, 4):
            assert check_stats(scaler, raw.iloc[start : start + 4]) == []

"""CSV as people write it: delimiters, marks, blanks, quotes, missing words; and what it must refuse."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesigma._errors import SourceError
from onesigma.inputs.scan import scan
from onesigma.inputs.sources import open_source
from onesigma.inputs.sources.text import numbers
from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments

DATA = Path(__file__).parents[3] / "shared" / "data"


def columns_of(text: str | bytes, tmp_path: Path, *, name: str = "t.csv", decimal: bool = False) -> Columns:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return scan(open_source(path, decimal=decimal))


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2.5\n3,4.5\n",
        "a;b\n1;2.5\n3;4.5\n",
        "a;b\n1;2,5\n3;4,5\n",
        "a\tb\n1\t2.5\n3\t4.5\n",
        "a|b\n1|2.5\n3|4.5",
        "\ufeffa,b\n1,2.5\n3,4.5\n",
        "a,b\r\n1,2.5\r\n3,4.5\r\n",
        '"a","b"\n"1","2.5"\n"3","4.5"\n',
        "a, b\n 1, +2.5\n3 ,4.50\n",
        "# made by a program\n# a b\na,b\n1,2.5\n3,4.5\n",
        "# a,b\n1,2.5\n3,4.5\n",
        "a,b\n1,25e-1\n\n3,4.5\n",
    ],
)
def test_every_style_gives_the_same_numbers(text: str, tmp_path: Path) -> None:
    columns = columns_of(text, tmp_path)
    assert list(columns) == ["a", "b"]
    assert (columns["a"].total, columns["b"].total) == (4, 7)


def test_a_first_line_of_numbers_is_a_row(tmp_path: Path) -> None:
    columns = columns_of("1,2\n3,4\n", tmp_path)
    assert list(columns) == ["x0", "x1"]
    assert columns["x0"].count == 2


def test_a_header_of_years_is_a_header(tmp_path: Path) -> None:
    assert list(columns_of("2019,2020,2021\n5,7,1\n6,2,2\n", tmp_path)) == ["2019", "2020", "2021"]


def test_encodings_other_than_utf8_are_read(tmp_path: Path) -> None:
    assert list(columns_of("größe\n1\n".encode("latin-1"), tmp_path)) == ["größe"]
    assert list(columns_of("größe,b\n1,2\n".encode("utf-16"), tmp_path)) == ["größe", "b"]


def test_compressed_text_is_read(tmp_path: Path) -> None:
    import gzip

    assert columns_of(gzip.compress(b"a\n1\n2\n"), tmp_path, name="t.csv.gz")["a"].total == 3


@pytest.mark.parametrize("word", ["", "NA", "N/A", "?", "nan", "NULL", "None", "-", " ? "])
def test_words_for_missing_are_missing(word: str, tmp_path: Path) -> None:
    moments = columns_of(f"a,b\n1,1\n{word},2\n3,3\n", tmp_path)["a"]
    assert (moments.count, moments.nulls + moments.nans, moments.total) == (2, 1, 4)


def test_grouped_thousands_are_numbers(tmp_path: Path) -> None:
    assert columns_of('a,b\n"1,234",1\n"1,234,567.5",2\n12,3\n', tmp_path)["a"].total == Decimal("1235813.5")
    assert columns_of("a;b\n1.234,5;1\n2;3\n", tmp_path)["a"].total == Decimal("1236.5")


def test_integers_past_2_to_53_stay_exact(tmp_path: Path) -> None:
    moments = columns_of(f"id\n{2**53 + 1}\n{2**62 + 1}\n", tmp_path)["id"]
    assert moments.total == 2**53 + 2**62 + 2


def test_true_and_false_are_one_and_zero(tmp_path: Path) -> None:
    assert columns_of("a\ntrue\nfalse\nTrue\n", tmp_path)["a"].total == 2


def test_lines_longer_than_a_block_are_read(tmp_path: Path) -> None:
    value = "1.5".ljust(50_000, "0")
    names, row = ",".join(f"x{index}" for index in range(100)), ",".join([value] * 100)
    columns = columns_of(f"{names}\n{row}\n{row}\n{row}\n", tmp_path)
    assert [moments.total for moments in columns.values()] == [Decimal("4.5")] * 100


def test_an_empty_column_counts_as_missing(tmp_path: Path) -> None:
    moments = columns_of("a,b\n1,\n2,\n", tmp_path)["b"]
    assert (moments.count, moments.nulls) == (0, 2)


def test_hexadecimal_is_no_number() -> None:
    assert numbers(pa.array(["0x1F", "2"])) is None


def test_decimal_text_is_exact_on_request_only(tmp_path: Path) -> None:
    text = "a\n0.1\n0.2\n1e-3\n7\n"
    assert columns_of(text, tmp_path, decimal=True)["a"].total == Moments.of([Decimal("7.301")]).total
    assert columns_of(text, tmp_path)["a"].total == Moments.of([0.1, 0.2, 1e-3, 7.0]).total


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n5,6\n", r"line 3 has 1 values, 2 wanted: '3'"),
        ("a,b\n1,2\n3,4,5\n", r"line 3 has 3 values, 2 wanted: '3,4,5'"),
        ("a,a\n1,2\n", "'a' stands 2 times"),
    ],
)
def test_ragged_and_doubled_tables_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        columns_of(text, tmp_path)


def test_text_far_down_is_an_error_with_its_row(tmp_path: Path) -> None:
    rows = ["1.5"] * 700_000 + ["many"]
    with pytest.raises(SourceError, match=r"t\.csv: column 'a' must hold numbers, got 'many' in row 700001"):
        columns_of("a\n" + "\n".join(rows) + "\n", tmp_path)


def test_integers_may_become_fractions_far_down(tmp_path: Path) -> None:
    rows = ["1"] * 3_000_000 + ["0.5"]
    assert columns_of("a\n" + "\n".join(rows) + "\n", tmp_path)["a"].total == Decimal("3000000.5")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_doubles_survive_their_text(values: list[float]) -> None:
    found = numbers(pa.array([repr(value) for value in values]))
    assert found is not None
    assert Moments.of(found) == Moments.of(values)


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12), min_size=1
    )
)
def test_decimals_survive_their_text(values: list[Decimal]) -> None:
    found = numbers(pa.array([str(value) for value in values]), decimal=True)
    assert found is not None
    assert Moments.of(found).total == Moments.of(values).total


CERTIFIED = {
    "Lottery": (518.958715596330, 291.699727470969),
    "Lew": (-177.435, 277.332168044316),
    "Mavro": (2.001856, 0.000429123454003053),
    "NumAcc1": (10000002.0, 1.0),
    "NumAcc2": (1.2, 0.1),
    "NumAcc3": (1000000.2, 0.1),
    "NumAcc4": (10000000.2, 0.1),
}


def significant_digits(value: float, certified: float) -> float:
    return 15.0 if value == certified else min(15.0, -np.log10(abs(value - certified) / abs(certified)))


@pytest.mark.parametrize("name", CERTIFIED)
def test_nist_statistics_from_decimal_text_have_15_digits(name: str, tmp_path: Path) -> None:
    path = DATA / "nist" / f"{name}.dat"
    if not path.exists():
        pytest.skip("the folder of shared data is not here")
    lines = path.read_text().splitlines()
    values = lines[next(index for index, line in enumerate(lines) if line.startswith("---")) + 1 :]
    moments = columns_of("y\n" + "\n".join(line.strip() for line in values if line.strip()), tmp_path, decimal=True)[
        "y"
    ]
    mean, std = CERTIFIED[name]
    # The certified numbers are printed with 15 digits: half a unit of the last one is allowed.
    assert significant_digits(moments.mean, mean) >= 14.5
    assert significant_digits(moments.std(correction=1), std) >= 14.5

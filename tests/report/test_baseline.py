"""A baseline accepts what was found when it was written, and nothing that came or became worse since."""

import pytest

from onesigma._errors import ReportFileError
from onesigma.report.baseline import Baseline
from onesigma.rules import Finding


def finding(code: str = "INI201", layer: str = "fc", severity: str = "warning", **more: object) -> Finding:
    return Finding(code=code, name="-", severity=severity, message="4.1", layer=layer, **more)  # type: ignore[arg-type]


FOUND = (finding(), finding(layer="head"), finding(call=1), finding("NRM601", "conv"))


def test_what_was_written_is_accepted_whatever_its_number_or_wording() -> None:
    again = [finding(value=9.0), finding(layer="head"), finding(call=1), finding("NRM601", "conv", "info")]
    parted = Baseline.of(FOUND).parted(again)
    assert (parted.fresh, parted.stale) == ((), ())


def test_what_is_new_worse_or_more_than_before_is_not_accepted() -> None:
    new = [finding("ACT301"), finding("NRM601", "conv", "error"), *[finding(call=i) for i in range(3)]]
    assert len(Baseline.of(FOUND).parted(new).fresh) == 3


def test_entries_that_nothing_was_found_for_are_stale() -> None:
    parted = Baseline.of(FOUND).parted([finding(), finding(call=1)])
    assert [str(entry) for entry in parted.stale] == ["INI201 at head", "NRM601 at conv"]


@pytest.mark.parametrize("found", [(), FOUND, [finding("LOS701", "")]])
def test_a_baseline_reads_back_equal(found: list[Finding]) -> None:
    baseline = Baseline.of(found)
    assert Baseline.from_json(baseline.to_json()) == baseline


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a baseline is JSON"),
        ("[" * 100_000, "a baseline is JSON"),
        ("[]", "wanted the schema 'onesigma/baseline/1'"),
        ('{"schema": "onesigma/report/1"}', "got 'onesigma/report/1'"),
        ('{"schema": "onesigma/baseline/1"}', "'findings' must be a list"),
        ('{"schema": "onesigma/baseline/1", "findings": [3]}', r"findings\[0\] must be an object"),
        ('{"schema": "onesigma/baseline/1", "findings": [{"code": "INI999"}]}', "no rule has the code 'INI999'"),
        ('{"schema": "onesigma/baseline/1", "findings": [{"code": ["INI201"]}]}', "no rule has the code"),
        ('{"schema": "onesigma/baseline/1", "findings": [{"code": "INI201", "layer": 3}]}', "wanted a layer path"),
        ('{"schema": "onesigma/baseline/1", "findings": [{"code": "INI201", "count": 0}]}', "whole number from 1"),
    ],
)
def test_what_is_no_baseline_is_refused_with_its_file_and_place(text: str, said: str) -> None:
    with pytest.raises(ReportFileError, match=said) as refused:
        Baseline.from_json(text, source="old.json")
    assert str(refused.value).startswith("old.json")

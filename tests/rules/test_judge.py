"""Selection, limits, order and causes."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesigma._errors import ConfigError
from onesigma.rules import RULES, Levels, Limits, configure, judge, selected

from .cases import CASES
from .traces import activation, activity, chain, column, features, linear, loss, signal, trace

LOUD = chain(5.0, 30.0, op="tanh", loss=loss(27.0))


def codes(found: tuple) -> list[str]:
    return [finding.code for finding in found]


def test_an_empty_trace_has_no_findings() -> None:
    assert judge(trace()) == ()


@pytest.mark.parametrize(
    ("prefix", "count"), [("", 35), ("INI", 6), ("INI2", 6), ("INI201", 1), ("I", 12), ("dead-units", 1)]
)
def test_a_prefix_selects_its_codes(prefix: str, count: int) -> None:
    assert len(selected([prefix] if prefix else [])) == count


def test_a_string_is_one_prefix_not_its_letters() -> None:
    assert codes(judge(LOUD, select="LOS")) == ["LOS701"]


def test_the_code_of_the_audit_may_be_selected_and_gives_nothing_from_a_trace() -> None:
    assert judge(LOUD, select=["INI207"]) == ()
    assert codes(judge(LOUD, ignore=["INI207"])) == codes(judge(LOUD))


def test_ignore_wins_over_select() -> None:
    assert judge(LOUD, select=["LOS701"], ignore=["LOS"]) == ()


def test_ignore_with_a_layer_leaves_other_layers() -> None:
    found = judge(LOUD, select=["INI201"], ignore=["INI201:2"])
    assert [finding.layer for finding in found] == ["0"]


def test_gravest_first_then_in_order_of_execution() -> None:
    found = judge(LOUD)
    ranks = [("error", "warning", "info").index(finding.severity) for finding in found]
    assert ranks == sorted(ranks)
    for severity in ("error", "warning", "info"):
        indices = [finding.index for finding in found if finding.severity == severity]
        assert indices == sorted(indices)


@pytest.mark.parametrize(
    "keywords", [{"select": ["INI999"]}, {"ignore": ["FOO"]}, {"limits": {"INI20": 3.0}}, {"select": [""]}]
)
def test_an_unknown_code_is_an_error(keywords: dict) -> None:
    with pytest.raises(ConfigError, match="no rule has the code"):
        judge(trace(), **keywords)


def test_an_unknown_code_gets_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"select: no rule has the code 'INI211'; did you mean INI201"):
        judge(trace(), select=["INI211"])


@pytest.mark.parametrize(
    "limits",
    [
        {"INI201": "3"},
        {"INI201": True},
        {"INI201": {"fatal": 3}},
        {"INI201": math.nan},
        {"INI201": None},
        [3.0],
        {("INI201",): 3},
    ],
)
def test_a_limit_that_is_no_number_is_an_error(limits: object) -> None:
    with pytest.raises(ConfigError, match="limits"):
        judge(trace(), limits=limits)  # type: ignore[arg-type]


def test_a_number_is_the_limit_of_warnings_and_nothing_short_of_it_is_said() -> None:
    levels = Limits({"INI201": 20.0}).of("INI201", layer="", default=RULES["INI201"].levels)
    assert levels == Levels(info=None, warning=20.0, error=20.0)
    assert [finding.layer for finding in judge(LOUD, select=["INI201"], limits={"INI201": 20.0})] == ["2"]


def test_a_table_sets_the_levels_it_names() -> None:
    (finding,) = judge(chain(5.0), select=["INI201"], limits={"INI201": {"error": 3.5}})
    assert finding.severity == "error"


def test_a_limit_may_hold_for_some_layers() -> None:
    found = judge(LOUD, select=["INI201"], limits={("INI201", "2*"): 1e9})
    assert [finding.layer for finding in found] == ["0"]


def test_inputs_and_targets_are_places_too() -> None:
    case = CASES["INP101"].broken
    assert judge(case, select=["INP101"], limits={("INP101", "inputs.*"): 1e9}) == ()


@given(st.floats(1e-6, 1e6), st.floats(1.0, 10.0))
def test_slack_never_makes_a_finding_graver(value: float, slack: float) -> None:
    ranks = {None: 0, "info": 1, "warning": 2, "error": 3}
    for levels in (RULES["INI201"].levels, RULES["INI202"].levels):
        assert ranks[levels.severity(value, slack=slack)] <= ranks[levels.severity(value)]


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=2))
def test_severity_is_monotone_in_the_value(values: list[float]) -> None:
    ranks = {None: 0, "info": 1, "warning": 2, "error": 3}
    low, high = sorted(values)
    levels = RULES["INI201"].levels
    assert ranks[levels.severity(low)] <= ranks[levels.severity(high)]


@settings(deadline=None)
@given(st.integers(1, 4096), st.integers(1, 4096))
def test_a_narrow_layer_gets_more_slack_than_a_wide_one(one: int, other: int) -> None:
    narrow, wide = sorted((one, other))
    limit = {width: judge(chain_of_width(width, 1e6), select=["INI201"])[0].limit for width in (narrow, wide)}
    assert limit[narrow] >= limit[wide] >= RULES["INI201"].levels.error


def chain_of_width(width: int, std: float) -> object:
    return trace(linear(0, std, source=-1, shape=(512, width)), activation(1), linear(2))


def test_a_layer_of_width_4_at_a_perfect_init_is_never_reported() -> None:
    # 1 to 99 % of such layers have a std of 0.59 to 1.49.
    for std in (0.59, 1.49, 2.0):
        assert judge(chain_of_width(4, std), select=["INI"]) == ()


@settings(deadline=None)
@given(st.integers(1, 499))
def test_few_observations_never_make_an_error_of_dead_units(observations: int) -> None:
    seen = activity(observations=observations, dead_units=0.9)
    found = judge(trace(linear(0, source=-1), activation(1, activity=seen), linear(2)), select=["ACT302"])
    assert all(finding.severity != "error" for finding in found)
    assert f"{300 / observations:.3g} %" in found[0].confidence


def test_a_raw_input_explains_what_it_saturates() -> None:
    raw = features(column("0", 500.0, 300.0))
    layers = (
        linear(0, 200.0, reads=580.0, source=-1),
        activation(1, "tanh", input=signal(200.0), activity=activity(saturated=0.99, saturated_units=0.9)),
        linear(2),
    )
    found = {finding.code: finding.cause for finding in judge(trace(*layers, inputs=(raw,), loss=loss(9.0)))}
    assert found == {"INP101": "", "INI201": "INP101", "ACT301": "INP101", "LOS701": "INP101"}


def test_weights_that_are_too_large_are_to_blame_themselves() -> None:
    raw = features(column("0", 40.0, 30.0))
    found = judge(
        trace(linear(0, 900.0, reads=50.0, source=-1), activation(1), linear(2), inputs=(raw,)), select=["INI201"]
    )
    assert [finding.cause for finding in found] == [""]


def test_a_layer_that_hands_on_what_it_gets_blames_the_one_before() -> None:
    first, second = judge(chain(30.0, 30.0, loss=loss(99.0)), select=["INI201"])
    assert (first.cause, second.cause) == ("", "")
    assert {finding.cause for finding in judge(chain(30.0, 30.0, loss=loss(99.0)), select=["LOS"])} == {"INI201"}


def test_an_info_explains_no_error() -> None:
    mild = features(column("0", 4.5, 1.0))
    loss_finding = judge(chain(1.0, inputs=(mild,), loss=loss(9.0)), select=["LOS701"])[0]
    assert loss_finding.cause == ""


def test_judging_twice_gives_the_same() -> None:
    assert judge(LOUD) == judge(replace(LOUD))


def test_configure_reads_the_table_of_a_pyproject() -> None:
    config = configure(
        {
            "select": ["INI", "ACT"],
            "ignore": ["INI206"],
            "fail-on": "error",
            "limits": {"INI201": {"warning": 4.0}},
            "per-layer-ignores": {"head.*": ["INI2"]},
            "per-layer-limits": {"gate*": {"ACT301": 0.9}},
        }
    )
    assert config.select == ("INI", "ACT")
    assert config.ignore == ("INI206", "INI2:head.*")
    assert config.fail_on == "error"
    assert config.limits.settings == {"INI201": {"warning": 4.0}, ("ACT301", "gate*"): 0.9}


@pytest.mark.parametrize(
    "table",
    [
        {"selects": ["INI"]},
        {"select": "INI"},
        {"select": [3]},
        {"select": ["XYZ"]},
        {"ignore": ["XYZ"]},
        {"limits": 3.0},
        {"limits": {"INI201": "big"}},
        {"per-layer-limits": {"head": 3.0}},
        {"per-layer-ignores": {"head": "INI"}},
        {"fail-on": "always"},
    ],
)
def test_configure_refuses_what_it_does_not_know(table: dict) -> None:
    with pytest.raises(ConfigError):
        configure(table)

"""Every rule: what breaks it, word for word, and what does not."""

import pytest

from onesigma.rules import RULES, SEVERITIES, judge

from .cases import CASES

FINE = [(code, name) for code, case in CASES.items() for name in case.fine]


@pytest.mark.parametrize("code", RULES)
def test_broken_trace_yields_the_golden_finding(code: str) -> None:
    case = CASES[code]
    first, *_ = judge(case.broken, select=[code])
    assert (first.severity, first.message) == (case.severity, case.message)
    assert (first.code, first.name) == (code, RULES[code].name)
    assert first.fix
    assert first.confidence


@pytest.mark.parametrize(("code", "name"), FINE)
def test_healthy_trace_yields_an_info_at_most(code: str, name: str) -> None:
    found = judge(CASES[code].fine[name], select=[code])
    assert [finding.message for finding in found if finding.severity != "info"] == []


def test_every_rule_has_a_case() -> None:
    assert list(CASES) == list(RULES)


@pytest.mark.parametrize("code", RULES)
def test_value_lies_beyond_the_limit_it_names(code: str) -> None:
    for finding in judge(CASES[code].broken, select=[code]):
        assert finding.severity in SEVERITIES
        assert finding.value < finding.limit if RULES[code].levels.below else finding.value > finding.limit


@pytest.mark.parametrize("code", RULES)
def test_a_generous_limit_silences_the_rule(code: str) -> None:
    generous = -1e300 if RULES[code].levels.below else 1e300
    assert judge(CASES[code].broken, select=[code], limits={code: generous}) == ()

"""`onesigma explain` and `onesigma rules`."""

import pytest

from onesigma.cli import main
from onesigma.rules import AUDITED, RULES


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "ACT301")
    assert code == 0
    assert "ACT301 saturated-activation" in out
    assert "Karpathy" in out


def test_explain_knows_the_code_of_the_audit(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "INI207")
    assert code == 0
    assert "INI207 off-recipe" in out


def test_explain_takes_a_code_however_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "explain", "act301")[1] == run(capsys, "explain", "ACT301")[1]


def test_explain_takes_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "explain", "dead-units")[1] == run(capsys, "explain", "ACT302")[1]


def test_explain_lists_the_rules_of_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "INI")
    assert code == 0
    assert [code for code in RULES if code in out] == [code for code in RULES if code.startswith("INI")]


def test_explain_of_an_unknown_code_is_one_line_with_close_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "explain", "ACT331")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "ACT301" in err


def test_rules_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "rules")
    assert code == 0
    assert [code for code in (*RULES, *AUDITED) if code in out] == [*RULES, *AUDITED]

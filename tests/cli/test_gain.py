"""`onesigma gain`: numbers as text and JSON, a picture, and one clear line for what is wrong."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from onesigma._errors import ConfigError, GainError, OutputError
from onesigma.cli.gain import gain
from onesigma.numbers.activations import ACTIVATIONS, GATED

app = typer.Typer(rich_markup_mode="rich")
app.command()(gain)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_one_name_prints_its_gain_and_what_the_gain_leaves_out() -> None:
    output = run("tanh")
    assert "1.592537419723" in output
    assert "1.177807" in output
    assert "E[f²]" in output


def test_json_has_every_moment_and_null_for_infinity() -> None:
    record = json.loads(run("cos", "--json"))
    assert record["name"] == "cos"
    assert record["odd_gain"] is None
    assert set(record) >= {"gain", "std_gain", "chi", "stability", "mean", "second_moment", "error", "convention"}


def test_without_a_name_all_are_listed() -> None:
    records = json.loads(run("--json"))
    assert [record["name"] for record in records] == [*ACTIVATIONS, *GATED]
    assert "quick_gelu" in run()


def test_torch_convention_prints_torchs_number() -> None:
    assert json.loads(run("SELU", "--convention", "torch", "--json"))["gain"] == 0.75
    assert len(json.loads(run("--convention", "torch", "--json"))) == 6


def test_a_plot_is_written(tmp_path: Path) -> None:
    target = tmp_path / "gelu.svg"
    run("gelu", "--plot", str(target))
    assert target.read_text(encoding="utf-8").startswith("<svg")


def test_a_function_of_the_users_own_is_measured(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text("def act(x):\n    return 2 * x.relu()\n")
    assert json.loads(run(f"{source}:act", "--json"))["gain"] == pytest.approx(0.5**0.5, rel=1e-14)


def test_help_shows_examples() -> None:
    assert "onesigma gain tanh" in run("--help")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["gellu"], GainError, "did you mean 'gelu'"),
        (["tanh", "--convention", "he"], ConfigError, "second_moment, std or torch"),
        (["gelu", "--convention", "torch"], GainError, "torch's table"),
        (["--plot", "x.svg"], ConfigError, "none was named"),
        (["gelu", "--plot", "/nonexistent/x.svg"], OutputError, "cannot be written"),
        (["swiglu", "--plot", "x.svg"], GainError, "gated pair"),
    ],
)
def test_what_is_wrong_is_said_in_one_error(arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(*arguments)

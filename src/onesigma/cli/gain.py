"""`onesigma gain`: what an activation does to the scale of signals and gradients."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from onesigma._errors import ConfigError, GainError, OutputError
from onesigma.cli._model import find_factory
from onesigma.numbers.activation_moments import ActivationMoments, activation_moments
from onesigma.numbers.activations import ACTIVATIONS, GATED
from onesigma.numbers.gain import Convention
from onesigma.numbers.gain import gain as exact_gain
from onesigma.numbers.meanfield import curves
from onesigma.report.maps import maps_svg

__all__ = ["gain"]

_MEANING = {
    "gain": "1/√E[f²]: weight std × √fan_in of the next layer",
    "std_gain": "1/√Var f: where the mean is taken out of the signal",
    "mean": "E[f]",
    "second_moment": "E[f²]",
    "variance": "Var f",
    "slope_second_moment": "E[f′²]",
    "chi": "gain²·E[f′²]: growth of the squared gradient per layer",
    "stability": "slope of the variance map at 1: unit scale is left above 1, returned to below",
    "odd_gain": "1/√E[(f(z) − f(−z))²]: for mirrored weights",
    "error": "bound of the relative error of these numbers",
}


def gain(
    name: Annotated[str | None, typer.Argument(help="A name, or file.py:function. Without it: all names.")] = None,
    convention: Annotated[
        str, typer.Option(help="second_moment (exact), std (mean taken out) or torch (its table).")
    ] = "second_moment",
    plot: Annotated[Path | None, typer.Option(help="Draw the function and its maps into this SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; infinities are null.")] = False,
) -> None:
    """Print the exact gain of an activation, and what the gain leaves out.

    [bold]Examples[/]

        onesigma gain                          # all names
        onesigma gain tanh
        onesigma gain "leaky_relu(0.2)" --json
        onesigma gain gelu --plot gelu.svg
        onesigma gain selu --convention torch
        onesigma gain my_layers.py:act
    """
    if name is None:
        if plot is not None:
            raise ConfigError(
                "--plot draws one activation, and none was named; e.g. 'onesigma gain gelu --plot gelu.svg'."
            )
        _print_all(convention, as_json=as_json)
        return
    function = find_factory(name) if ":" in name else name
    number, moments = exact_gain(function, convention=_known(convention)), activation_moments(function)
    if plot is not None:
        _write(plot, maps_svg(curves(function)))
    if as_json:
        _print_json(_record(moments, convention, number))
        return
    Console().print(_table(moments, convention, number))
    if plot is not None:
        Console(soft_wrap=True).print(f"written: {plot}", highlight=False)


def _known(convention: str) -> Convention:
    for known in ("second_moment", "std", "torch"):
        if convention == known:
            return known
    raise ConfigError(f"--convention: second_moment, std or torch, got {convention!r}.")


def _table(moments: ActivationMoments, convention: str, number: float) -> Table:
    table = Table(
        title=moments.name, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    if convention != "second_moment":
        table.add_row(f"{convention} gain", _digits(number), f"by convention={convention}")
    for field, meaning in _MEANING.items():
        value = getattr(moments, field)
        table.add_row(field, f"{value:.1e}" if field == "error" else _digits(value), meaning)
    return table


def _print_all(convention: str, *, as_json: bool) -> None:
    rows = []
    for name in (*ACTIVATIONS, *GATED):
        try:
            rows.append((activation_moments(name), exact_gain(name, convention=_known(convention))))
        except GainError:  # torch's table has seven names
            continue
    if as_json:
        _print_json([_record(moments, convention, number) for moments, number in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "gain", "mean", "chi", "stability", "odd gain"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for moments, number in rows:
        others = (moments.mean, moments.chi, moments.stability, moments.odd_gain)
        table.add_row(moments.name, _digits(number, 6), *(_digits(value, 4) for value in others))
    Console().print(table)


def _record(moments: ActivationMoments, convention: str, number: float) -> dict[str, Any]:
    fields = asdict(moments) | {"gain": number}
    return {"name": fields.pop("name"), "convention": convention} | {
        key: value if math.isfinite(value) else None for key, value in fields.items()
    }


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _digits(value: float, decimals: int = 12) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value + 0.0:.{decimals}f}" if abs(value) < 1e6 else f"{value:.{decimals}g}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another --plot.") from error

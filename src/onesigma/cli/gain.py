"""`onesigma gain`: what an activation does to the scale of signals and gradients."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from onesigma._errors import ConfigError, GainError, OutputError
from onesigma.cli import _paths
from onesigma.cli._gain import record_of, table_of_all, table_of_one
from onesigma.cli._model import find_factory
from onesigma.numbers.activation_moments import activation_moments
from onesigma.numbers.activations import ACTIVATIONS, GATED
from onesigma.numbers.gain import Convention
from onesigma.numbers.gain import gain as exact_gain
from onesigma.numbers.meanfield import curves
from onesigma.report.maps import maps_svg

__all__ = ["gain"]


def gain(
    name: Annotated[str | None, typer.Argument(help="A name, or file.py:function. Without it: all names.")] = None,
    convention: Annotated[
        str, typer.Option(help="second_moment (exact), std (mean taken out) or torch (its table).")
    ] = "second_moment",
    plot: Annotated[
        Path | None, typer.Option(parser=_paths.file, help="Draw the function and its maps into this SVG file.")
    ] = None,
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
    try:
        number, moments = exact_gain(function, convention=_known(convention)), activation_moments(function)
    except GainError as error:
        if not callable(function):
            raise
        raise GainError(
            f"{str(error).rstrip('. ')}. If {name} makes a whole model, `onesigma check {name} --data …` measures it."
        ) from error
    if plot is not None:
        _write(plot, maps_svg(curves(function)))
    if as_json:
        _print_json(record_of(moments, convention, number))
        return
    Console().print(table_of_one(moments, convention, number))
    if plot is not None:
        Console(soft_wrap=True).print(f"written: {plot}", highlight=False)


def _known(convention: str) -> Convention:
    for known in ("second_moment", "std", "torch"):
        if convention == known:
            return known
    raise ConfigError(f"--convention: second_moment, std or torch, got {convention!r}.")


def _print_all(convention: str, *, as_json: bool) -> None:
    rows = []
    for name in (*ACTIVATIONS, *GATED):
        try:
            rows.append((activation_moments(name), exact_gain(name, convention=_known(convention))))
        except GainError:  # torch's table has seven names
            continue
    if as_json:
        _print_json([record_of(moments, convention, number) for moments, number in rows])
        return
    Console().print(table_of_all(rows))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another --plot.") from error

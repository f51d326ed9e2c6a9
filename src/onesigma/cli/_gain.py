"""The numbers of an activation as a table or a JSON record, for `onesigma gain`."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from onesigma.numbers.activation_moments import ActivationMoments

__all__ = ["record_of", "table_of_all", "table_of_one"]

_MEANING = {
    "gain": "1/√E[f²]",
    "std_gain": "1/√Var f, where the mean is taken out",
    "mean": "E[f]",
    "second_moment": "E[f²]",
    "variance": "Var f",
    "slope_second_moment": "E[f′²]",
    "chi": "gain²·E[f′²]: gradient² per layer",
    "stability": "slope of the variance map: stable below 1",
    "odd_gain": "1/√E[(f(z) − f(−z))²]",
    "error": "bound of their relative error",
}


def table_of_one(moments: ActivationMoments, convention: str, number: float) -> Table:
    """One activation: each number with what it means."""
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
        table.add_row(field, f"{value:.1e}" if field == "error" else _digits(value), Text(meaning))
    return table


def table_of_all(rows: Iterable[tuple[ActivationMoments, float]]) -> Table:
    """Many activations, one per row, each with its gain by the convention asked for."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "gain", "mean", "chi", "stability", "odd gain"):
        table.add_column(column, justify="left" if column == "name" else "right")
    for moments, number in rows:
        others = (moments.mean, moments.chi, moments.stability, moments.odd_gain)
        table.add_row(moments.name, _digits(number, 6), *(_digits(value, 4) for value in others))
    return table


def record_of(moments: ActivationMoments, convention: str, number: float) -> dict[str, Any]:
    """One activation for JSON, which has no infinity: null stands for it."""
    fields = asdict(moments) | {"gain": number}
    return {"name": fields.pop("name"), "convention": convention} | {
        key: value if math.isfinite(value) else None for key, value in fields.items()
    }


def _digits(value: float, decimals: int = 12) -> str:
    if math.isinf(value):
        return "∞"
    return f"{value + 0.0:.{decimals}f}" if abs(value) < 1e6 else f"{value:.{decimals}g}"

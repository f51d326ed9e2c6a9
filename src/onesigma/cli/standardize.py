"""`onesigma standardize`: the statistics of a table of any size, in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from onesigma._errors import ConfigError
from onesigma.cli import _paths
from onesigma.cli._kept import refuse_own_source
from onesigma.cli._progress import pass_bar
from onesigma.inputs.condition import ColumnCondition, conditions_of
from onesigma.inputs.sinks import refuse_no_folder
from onesigma.inputs.sources import Source
from onesigma.workflows.standardize import fit

__all__ = ["standardize"]

_MOST_ROWS = 60


def standardize(
    data: Annotated[
        list[str],
        typer.Argument(parser=_paths.source, help="Files, globs or a folder: Parquet, CSV, Arrow, NPY, images, …"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", parser=_paths.file, help="File for the statistics (JSON).")],
    method: Annotated[
        Literal["standard", "minmax", "maxabs", "robust"], typer.Option(help="Mean and std, range, maximum, quartiles.")
    ] = "standard",
    columns: Annotated[
        list[str] | None, typer.Option(help="Names or patterns, with commas between or repeated; else all numbers.")
    ] = None,
    nonfinite: Annotated[
        Literal["raise", "ignore"], typer.Option(help="Infinite values: an error that names them, or leave them out.")
    ] = "raise",
    range_: Annotated[str | None, typer.Option("--range", help="With minmax: the range, such as -1,1.")] = None,
    decimal: Annotated[bool, typer.Option("--decimal", help="Keep the decimal fractions of CSV text exact.")] = False,
    axis: Annotated[int | None, typer.Option(help="Axis of the columns in arrays of three or more dimensions.")] = None,
    field: Annotated[str | None, typer.Option(help="Array of an NPZ file.")] = None,
    engine: Annotated[
        Literal["local", "threads", "processes", "dask", "ray", "spark"],
        typer.Option(help="Where the pass runs; the result has the same bytes."),
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a cluster: tcp://host:8786 (Dask), ray://host:10001, spark://host:7077.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget an interrupted run instead of continuing it.")
    ] = False,
) -> None:
    """Measure every column in one exact pass and save what a scaler needs.

    Killed at any moment, the same command continues where it was and ends with the same bytes: the pass is kept in
    OUT.scan until it is done. Columns without numbers are left out, and named.

    [bold]Examples[/]

        onesigma standardize trips.parquet -o inputs.json
        onesigma standardize "lake/*.parquet" -o inputs.json --method minmax --columns trip_distance,fare
        onesigma standardize photos/ -o channels.json
        onesigma standardize weather.csv -o inputs.json --columns "temp_*" --nonfinite ignore
        onesigma standardize "lake/*.parquet" -o inputs.json --engine dask --address tcp://head:8786
    """
    refuse_no_folder(out)
    refuse_own_source(out, data)
    checkpoint = out.with_name(f"{out.name}.scan")
    if restart:
        checkpoint.unlink(missing_ok=True)
    source = data if len(data) > 1 else data[0]
    with pass_bar(f"reading {', '.join(data[:3])}") as progress:
        fitted, table = fit(
            source,
            engine=engine,
            address=address,
            reading={"columns": split(columns), "decimal": decimal, "axis": axis, "field": field},
            method=method,
            nonfinite=nonfinite,
            checkpoint=checkpoint,
            progress=progress,
            **_parameters(method, range_),
        )
    fitted.scaler.save(out)
    console = Console()
    _show(console, conditions_of(fitted.columns), table)
    rows = max(column.count + column.nulls + column.nans for column in fitted.columns.values())
    console.print(
        f"[bold]{escape(str(out))}[/]: {method}, {rows:,} rows × {len(fitted.columns)} columns, "
        f"fingerprint {fitted.scaler.fingerprint[:12]}",
        soft_wrap=True,
    )


def split(columns: Sequence[str] | None) -> list[str] | None:
    """Return names given as `a,b` or one by one."""
    return [name.strip() for part in columns for name in part.split(",")] if columns else None


def _parameters(method: str, range_: str | None) -> dict[str, Any]:
    if range_ is None:
        return {}
    try:
        low, high = (float(end) for end in range_.split(","))
    except ValueError:
        raise ConfigError(f"--range {range_}: wanted two numbers with a comma between, such as -1,1.") from None
    if method != "minmax":
        raise ConfigError(f"--range goes with --method minmax, not {method}.")
    return {"feature_range": (low, high)}


def _show(console: Console, conditions: Sequence[ColumnCondition], source: Source) -> None:
    table = Table("column", box=None, pad_edge=False)
    for title in ("count", "missing", "min", "max", "mean", "std"):
        table.add_column(title, justify="right", no_wrap=True)
    for condition in conditions[:_MOST_ROWS]:
        numbers = (condition.minimum, condition.maximum, condition.mean, condition.std)
        missing = f"{condition.missing:,}" if condition.missing else "·"
        table.add_row(escape(condition.name), f"{condition.count:,}", missing, *(f"{number:.6g}" for number in numbers))
    console.print(table)
    warned = [condition for condition in conditions if condition.warnings]
    lines = [f"[yellow]{escape(condition.name)}[/]: {escape('; '.join(condition.warnings))}" for condition in warned]
    lines += [f"[dim]{escape(name)}: left out, {escape(why)}[/]" for name, why in source.left_out.items()]
    if len(conditions) > _MOST_ROWS:
        lines.insert(0, f"… and {len(conditions) - _MOST_ROWS} more columns")
    for line in lines[:_MOST_ROWS]:
        console.print(line, soft_wrap=True, highlight=False)
    if len(lines) > _MOST_ROWS:
        console.print(f"… and {len(lines) - _MOST_ROWS} more notes")

"""`onesigma apply`: a file of statistics applied to a table."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from onesigma.cli import _paths
from onesigma.cli._kept import refuse_own_source
from onesigma.cli._progress import pass_bar
from onesigma.inputs.apply import apply as apply_to
from onesigma.inputs.loading import load

__all__ = ["apply"]


def apply(
    stats: Annotated[Path, typer.Argument(parser=_paths.file, help="File that `onesigma standardize` wrote.")],
    data: Annotated[
        list[str], typer.Argument(parser=_paths.source, help="Files, globs or a folder, in any format that is read.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", parser=_paths.file, help=".parquet, .csv, .tsv, .feather, .arrow or .npy")
    ],
    dtype: Annotated[
        Literal["float32", "float64"] | None, typer.Option(help="Of the scaled columns; else as wide as they come.")
    ] = None,
    only: Annotated[
        bool, typer.Option("--only", help="Leave out the columns that the statistics do not know.")
    ] = False,
) -> None:
    """Scale the columns of a table by name, a block at a time; the other columns pass through.

    OUT appears when it is whole: after an error there is none, and an old one is untouched.

    [bold]Examples[/]

        onesigma apply inputs.json test.parquet -o scaled.parquet
        onesigma apply inputs.json "lake/*.csv" -o scaled.npy --dtype float32
    """
    refuse_own_source(out, (str(stats), *data))
    scaler = load(stats)
    source = data if len(data) > 1 else data[0]
    with pass_bar(f"scaling to {out}") as progress:
        rows = apply_to(scaler, source, to=out, dtype=dtype, only=only, progress=progress)
    Console().print(
        f"[bold]{escape(str(out))}[/]: {rows:,} rows, {len(scaler.columns_)} columns scaled", soft_wrap=True
    )

"""`onesigma merge`: the statistics of several tables as those of one."""

from functools import reduce
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from onesigma._errors import ConfigError, OnesigmaError
from onesigma.cli import _paths
from onesigma.inputs.loading import load
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.sinks import refuse_no_folder

__all__ = ["merge"]


def merge(
    files: Annotated[
        list[Path],
        typer.Argument(parser=_paths.file, help="Files that `onesigma standardize` wrote, of the same columns."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", parser=_paths.file, help="File for the merged statistics.")],
) -> None:
    """Merge statistics as if all rows had been measured at once: exact, in any order.

    [bold]Examples[/]

        onesigma merge january.json february.json -o winter.json
        onesigma merge shards/*.json -o inputs.json
    """
    if len(files) < 2:
        raise ConfigError(f"merge takes two or more files, got {len(files)}; name them one after the other.")
    refuse_no_folder(out)
    named = [(path, load(path)) for path in files]
    _, merged = reduce(_joined, named)
    merged.save(out)
    Console().print(
        f"[bold]{escape(str(out))}[/]: {len(files)} files merged, {len(merged.columns_)} columns, "
        f"fingerprint {merged.fingerprint[:12]}",
        soft_wrap=True,
    )


def _joined(left: tuple[Path, ColumnScaler], right: tuple[Path, ColumnScaler]) -> tuple[Path, ColumnScaler]:
    try:
        return left[0], left[1].merge(right[1])
    except OnesigmaError as error:
        raise type(error)(f"{left[0]} and {right[0]}: {error}") from error

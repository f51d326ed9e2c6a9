"""`onesigma compare`: what changed between two reports."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from onesigma._errors import ReportFileError
from onesigma.cli import _paths
from onesigma.report.compare import compare as compare_reports
from onesigma.report.report import Report

__all__ = ["compare"]


def compare(
    before: Annotated[
        Path, typer.Argument(parser=_paths.file, help="Report as JSON: of the earlier state.", metavar="BEFORE")
    ],
    after: Annotated[
        Path, typer.Argument(parser=_paths.file, help="Report as JSON: of the later state.", metavar="AFTER")
    ],
    format: Annotated[Literal["text", "json", "html"], typer.Option(help="What is written to stdout.")] = "text",
) -> None:
    """Tell which findings went, came and stayed between two reports, and what became of every layer's scale.

    The reports are those of `onesigma check --format json`, or report.json of `--fix --out`.

    [bold]Exit codes[/]  0 nothing came · 1 a finding came that fails the later report · 2 could not run

    [bold]Examples[/]

        onesigma compare before.json after.json
        onesigma compare before.json after.json --format html > change.html
    """
    change = compare_reports(_read(before), _read(after))
    if format == "text":
        Console().print(change)
    else:
        typer.echo(change.to_html() if format == "html" else change.to_json(), nl=False)
    raise typer.Exit(change.exit_code)


def _read(path: Path) -> Report:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReportFileError(
            f"{path}: expected a report as JSON, cannot read it ({error.strerror or error}); "
            "write one with `onesigma check … --format json`."
        ) from error
    return Report.from_json(data, source=str(path))

"""The command line: one file per command. Exit codes: 0 clean, 1 findings, 2 could not run."""

import sys
import traceback
from collections.abc import Sequence

import typer
from rich.console import Console

from onesigma._errors import OnesigmaError
from onesigma.cli._commands import Commands
from onesigma.cli._version import print_version

__all__ = ["app", "main"]

app = typer.Typer(
    name="onesigma",
    cls=Commands,
    help="Keeps the signals of a PyTorch network at unit scale: measure, judge, repair, prove.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def onesigma(
    version: bool = typer.Option(
        False, "--version", callback=print_version, is_eager=True, help="Print the versions in use and leave."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error; may stand anywhere."),
) -> None:
    """Keeps the signals of a PyTorch network at unit scale: measure, judge, repair, prove."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; an error that the user can mend becomes one line on stderr and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        app(args=[argument for argument in given if argument != "--debug"], prog_name="onesigma")
    except OnesigmaError as error:
        if debug:
            traceback.print_exc()
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {_escaped(error)}")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted")
        raise SystemExit(130) from None


def _escaped(error: OnesigmaError) -> str:
    return " ".join(str(error).split()).replace("[", r"\[")

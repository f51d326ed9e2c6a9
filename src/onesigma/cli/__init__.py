"""The command line: one file per command. Exit codes: 0 clean, 1 findings, 2 could not run."""

import io
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from onesigma.cli._commands import Commands
from onesigma.cli._ends import INTERRUPTED, told
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
    """Run the command line and leave with its exit code; whatever goes wrong is one line on stderr and code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):
        # In a locale without ✓ and σ a question mark stands for them; the run does not end on it.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        arguments = [argument for argument in given if argument != "--debug"]
        with warnings.catch_warnings():
            warnings.showwarning = _warned
            code = app(args=arguments, prog_name="onesigma", standalone_mode=False)
        line = INTERRUPTED if code == 130 else ""  # typer has caught it
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, line = told(error, debug=debug)
    if line:
        Console(stderr=True, soft_wrap=True, highlight=False).print(_red(line))
    raise SystemExit(code or 0)


def _warned(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning in one line; where in our code it arose is of no use to who runs a command."""
    line = escape(" ".join(str(message).split()))
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[yellow]warning:[/] {line}")


def _red(line: str) -> str:
    return escape(line).replace("error:", "[bold red]error:[/]", 1) if line.startswith("error:") else escape(line)

"""The commands by name, each imported when it is run: help and a pass over a table do not wait for torch."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["SUMMARIES", "Commands"]

SUMMARIES = {
    "check": "Measure every layer of a model on your data and judge it; with --fix, repair a copy and prove it.",
    "initialize": "Draw every weight by its fan and gain, set its scale in one pass over the data, and save the "
    "state dict.",
    "standardize": "Measure every column in one exact pass and save what a scaler needs.",
    "apply": "Scale the columns of a table by name, a block at a time; the other columns pass through.",
    "merge": "Merge statistics as if all rows had been measured at once: exact, in any order.",
    "fold": "Fold every BatchNorm into the weights around it, prove it on the data, and save the weights.",
    "gain": "Print the exact gain of an activation, and what the gain leaves out.",
    "rules": "List every rule with its default limits.",
    "explain": "Print the page of one rule, or list the rules of a prefix.",
    "compare": "Tell which findings went, came and stayed between two reports, and what became of every layer's scale.",
    "demo": "Measure, judge, repair and train two deep networks on wine and digits, as torch leaves them and repaired.",
}
"""What the list of commands says of each: the first sentence of its docstring."""


class Commands(TyperGroup):
    """A group whose commands live in the modules of this package that bear their names."""

    def __init__(self, **options: Any) -> None:
        listed = {name: TyperCommand(name, help=text, rich_markup_mode="rich") for name, text in SUMMARIES.items()}
        super().__init__(**options | {"commands": listed})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is run, whole, in place of its line in the list."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, None if command is None else _loaded(str(command.name)), rest


def _loaded(name: str) -> Any:
    alone = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False, add_completion=False)
    alone.command(name)(getattr(import_module(f"onesigma.cli.{name}"), name))
    return typer.main.get_command(alone)

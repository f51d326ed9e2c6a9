"""`onesigma explain CODE`: the page of a rule."""

import typer
from rich.console import Console
from rich.markdown import Markdown

from onesigma.cli.rules import table_of
from onesigma.rules import RULES, selected
from onesigma.workflows import audit

__all__ = ["explain"]


def explain(
    code: str = typer.Argument(help="A code (INI201), a name (preactivation-too-large), or a prefix (INI)."),
) -> None:
    """Print the page of one rule, or list the rules of a prefix.

    [bold]Examples[/]

        onesigma explain INI201
        onesigma explain saturated-activation
        onesigma explain ACT
    """
    if code.strip().upper() == audit.CODE:
        Console().print(Markdown(audit.PAGE))
        return
    chosen = tuple(RULES[found] for found in selected([_code(code)], where="explain"))
    if len(chosen) > 1:
        Console().print(table_of(chosen))
        return
    (rule,) = chosen
    Console().print(Markdown(f"# {rule.code} {rule.name}\n\n{rule.page}"))


def _code(said: str) -> str:
    """A code or prefix in capitals, however it was typed; a name as it is."""
    return said.strip().upper() if "-" not in said else said.strip()

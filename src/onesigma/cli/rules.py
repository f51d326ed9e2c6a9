"""`onesigma rules`: every rule with its limits, in one table."""

import math

from rich.console import Console
from rich.table import Table

from onesigma.rules import AUDITED, RULES, Levels, Rule, Severity

__all__ = ["rules", "table_of"]


def rules() -> None:
    """List every rule with its default limits.

    [bold]Examples[/]

        onesigma rules
        onesigma explain INI201     # the page of one of them
    """
    table = table_of(tuple(RULES.values()))
    for code, name in AUDITED.items():
        table.add_row(code, name, "–", "–", "–", "With `check --audit RECIPE`: weights are not what the recipe says.")
    Console().print(table)


def table_of(chosen: tuple[Rule, ...]) -> Table:
    """Code, name, limits and the first sentence of the page, one rule per row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("code", "name", "info", "warning", "error", "fires when"):
        table.add_column(column, justify="right" if column in ("info", "warning", "error") else "left")
    for rule in chosen:
        limits = (_limit(rule.levels, severity) for severity in ("info", "warning", "error"))
        table.add_row(rule.code, rule.name, *limits, rule.summary)
    return table


def _limit(levels: Levels, severity: Severity) -> str:
    limit = levels.limit(severity)
    if not math.isfinite(limit):
        return "–"
    return f"{'<' if levels.below else '>'} {limit:g}"

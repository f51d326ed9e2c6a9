"""`onesigma check --stats inputs.json DATA`: do these statistics fit this data?"""

from rich.console import Console
from rich.markup import escape

from onesigma.inputs.check_stats import CONSTANTS, check_stats

__all__ = ["report_stats"]


def report_stats(stats: str, data: str, *, applied: bool = False) -> int:
    """Print a line per column that does not fit, and return the exit code: 0 all fit, 1 some do not."""
    console = Console(highlight=False, soft_wrap=True)
    named = f"the {stats} constants" if stats in CONSTANTS else stats
    found = check_stats(stats, data, applied=applied)
    for mismatch in found:
        said = f"{mismatch.cause}: {mismatch.message}"
        console.print(f"[yellow]INP106[/] statistics-mismatch  {escape(said)}")
    verdict = f"{len(found)} columns do not fit" if found else "every column fits"
    console.print(f"{'✗' if found else '✓'} {named} against {data}: {verdict}")
    return int(bool(found))

"""A progress bar on stderr for passes over data, with rate and time left; silent where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from onesigma.inputs.scan import Progress as PassProgress

__all__ = ["pass_bar"]


@contextmanager
def pass_bar(doing: str) -> Iterator[Callable[[PassProgress], None]]:
    """Show a bar while open; the callback takes what a pass reports."""
    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}")
    parts = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), rate)
    with Progress(
        *parts, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(doing, total=None, rate="")

        def update(progress: PassProgress) -> None:
            speed = (progress.num_rows - progress.resumed_rows) / max(progress.seconds, 1e-9)
            total = None if progress.total_rows is None else max(progress.total_rows, progress.num_rows)
            bar.update(task, completed=progress.num_rows, total=total, rate=f"{_short(speed)} rows/s")

        yield update


def _short(number: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}"

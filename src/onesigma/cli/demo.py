"""`onesigma demo`: the main job on real data, from a network that does not learn to one that does."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from onesigma.cli import _paths
from onesigma.workflows.demo import STEPS, Act, acts, wine_table

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option(parser=_paths.file, help="Folder for report.html, report.json and wine.csv.")
    ] = Path("onesigma-demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps, each way.")] = STEPS,
) -> None:
    """Measure, judge, repair and train two deep networks on wine and digits, as torch leaves them and repaired.

    [bold]Examples[/]

        onesigma demo
        onesigma demo --out demo --steps 100
    """
    console = Console()
    # The networks are small: a second thread would wait for the first more than it works.
    torch.set_num_threads(1)
    played = _play(console, steps=steps)
    wine = played[0]
    curves = {name: losses for act in played for name, losses in act.curves.items()}
    meta = replace(
        wine.repaired.report.meta,
        model=f"{wine.network}, as torch initializes them",
        data="scikit-learn's wine: 178 rows, 13 columns, 3 cultivars",
        command="onesigma demo",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=0,
    )
    report = replace(wine.repaired.report, curves=curves, meta=meta)
    console.print(report)
    console.print(_trainings(played, steps=steps))
    out.mkdir(parents=True, exist_ok=True)
    report.save(out / "report.html")
    report.save(out / "report.json")
    _write_wine(out / "wine.csv")
    console.print(f"\nPictures: [bold]{out / 'report.html'}[/]   The same as JSON: {out / 'report.json'}")
    console.print(
        f"On your own model: [bold]onesigma check examples/wine.py:build --data {out / 'wine.csv'} --target cultivar[/]"
    )


def _play(console: Console, *, steps: int) -> list[Act]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {}

        def on_step(name: str, loss: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(f"train on {name}", total=steps, loss=loss)
            progress.update(tasks[name], advance=1, loss=loss)

        return list(acts(steps=steps, on_step=on_step))


def _trainings(played: list[Act], *, steps: int) -> Table:
    table = Table(
        title=f"{steps} steps of Adam, the same batches both ways", title_justify="left", box=None, padding=(0, 2)
    )
    for column in ("training", "loss at start", "loss at end", "held-out rows right"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for act in played:
        for name, losses in act.curves.items():
            last = sum(losses[-10:]) / len(losses[-10:])
            right = f"{act.accuracies[name]:.0%}"
            style = "bold green" if name.endswith("repaired") else ""
            table.add_row(f"{act.network} on {name}", f"{losses[0]:.3f}", f"{last:.3f}", right, style=style)
    return table


def _write_wine(path: Path) -> None:
    names, rows = wine_table()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)

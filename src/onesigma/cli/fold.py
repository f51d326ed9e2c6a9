"""`onesigma fold`: a trained model without its norms, with a certificate for each."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from onesigma._errors import ModelError
from onesigma.cli import _paths
from onesigma.cli._model import build_model, fed, find_factory
from onesigma.cli._out import write_atomically
from onesigma.model.edits import Edits
from onesigma.norm.fold import fold_, save_folded
from onesigma.workflows.check import SAMPLE_ROWS
from onesigma.workflows.problem_files import problem_from_file

__all__ = ["fold"]


def fold(
    model: Annotated[str, typer.Argument(help="package.module:factory or file.py:factory.", metavar="MODEL")],
    data: Annotated[
        Path, typer.Option("--data", parser=_paths.file, help="Table: Parquet, CSV, Arrow, NPY, JSON lines.")
    ],
    state: Annotated[Path, typer.Option("--state", parser=_paths.file, help="The trained state dict: model.pt.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", parser=_paths.file, help="Where the folded weights go: folded.pt.")
    ],
    target: Annotated[str | None, typer.Option(help="Column that is no input.")] = None,
    rows: Annotated[int, typer.Option(help="Rows that the proof is made on.", min=1)] = SAMPLE_ROWS,
    subclasses: Annotated[
        bool,
        typer.Option("--subclasses", help="Fold other classes of layers and norms, too, as a run shows them."),
    ] = False,
) -> None:
    """Fold every BatchNorm into the weights around it, prove it on the data, and save the weights.

    Each fold is exact in float64 (1e-10) and at most doubles the model's own rounding, or the norm stays and the
    table says why. onesigma.norm.load_folded_ brings the file back into the model.

    [bold]Examples[/]

        onesigma fold my_model.py:build --data wine.csv --target quality --state model.pt -o folded.pt
    """
    find_factory(model)
    problem = problem_from_file(data, target=target)
    network = build_model(model, num_features=problem.num_features, num_classes=problem.num_outputs)
    _load(network, state)
    with fed(model, data=data, num_features=problem.num_features):
        edits = fold_(network.eval(), problem.sample(rows, seed=0).inputs.float(), subclasses=subclasses)
    write_atomically(out, lambda path: save_folded(network, edits, path=path))
    console = Console()
    console.print(_table(edits))
    console.print(f"{len(edits.applied)} norms folded, {len(edits.refused)} stay. Written: [bold]{out}[/]")


def _load(network: nn.Module, state: Path) -> None:
    try:
        network.load_state_dict(torch.load(state, weights_only=True))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ModelError(f"{state}: cannot be loaded into the model as its state dict ({said}).") from error


def _table(edits: Edits) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("norm", "done", "change in float64", "why"):
        table.add_column(column, justify="right" if "change" in column else "left")
    for edit in edits:
        change = "" if edit.error is None else f"{edit.error:.1e}"
        table.add_row(edit.layer, edit.action if edit.applied else "stays", change, escape(edit.reason))
    return table

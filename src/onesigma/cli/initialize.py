"""`onesigma initialize`: new weights for a model, set from one pass over your data."""

import math
from pathlib import Path
from typing import Annotated, Any
from warnings import catch_warnings, simplefilter

import torch
import typer
from rich.console import Console
from rich.table import Table

from onesigma._errors import ConfigError, ModelError, NoEffectWarning
from onesigma.cli import _paths
from onesigma.cli._model import build_model, fed, find_factory
from onesigma.cli._out import write_atomically
from onesigma.init.initialize import initialize_
from onesigma.model.edits import Edits
from onesigma.workflows.check import SAMPLE_ROWS
from onesigma.workflows.problem_files import problem_from_file

__all__ = ["initialize"]


def initialize(
    model: Annotated[str, typer.Argument(help="package.module:factory or file.py:factory.", metavar="MODEL")],
    data: Annotated[
        Path, typer.Option("--data", parser=_paths.file, help="Table: Parquet, CSV, Arrow, NPY, JSON lines.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", parser=_paths.file, help="Where the state dict goes: init.pt.")],
    target: Annotated[str | None, typer.Option(help="Column that is no input.")] = None,
    scheme: Annotated[
        str, typer.Option(help="unit, analytic, deep; kaiming, xavier, lecun, orthogonal; gpt2, llama, deepnorm, …")
    ] = "unit",
    where: Annotated[str, typer.Option(help="What to set: names, layer types or roles: Conv2d,residual_writer.")] = "",
    skip: Annotated[str, typer.Option(help="What to leave alone, likewise: head,blocks.*.gate.weight.")] = "",
    head: Annotated[float | None, typer.Option(help="Factor on the last layer; 0.1 starts near log C.")] = None,
    seed: Annotated[
        int, typer.Option(help="Of the weights, with the name of each parameter.", min=-(2**63), max=2**63 - 1)
    ] = 0,
) -> None:
    """Draw every weight by its fan and gain, set its scale in one pass over the data, and save the state dict.

    The data are taken as they are: standardize them first, or let `onesigma check --fix` do both.

    [bold]Examples[/]

        onesigma initialize my_model.py:build --data wine.csv --target quality -o init.pt
        onesigma initialize my_model.py:build --data wine.csv -o init.pt --skip head --seed 7
        onesigma initialize my_model.py:build --data wine.csv -o init.pt --scheme kaiming --where Linear
    """
    if head is not None and not 0 <= head < math.inf:
        raise ConfigError(f"--head: wanted a factor of 0 or more, got {head:g}; 0.1 starts near log C.")
    find_factory(model)
    problem = problem_from_file(data, target=target)
    torch.manual_seed(seed)
    network = build_model(model, num_features=problem.num_features, num_classes=problem.num_outputs)
    sample = problem.sample(SAMPLE_ROWS, seed=seed)
    choice: dict[str, Any] = {"where": _listed(where), "skip": _listed(skip), "head": head}
    with fed(model, data=data, num_features=problem.num_features), catch_warnings():
        simplefilter("ignore", NoEffectWarning)  # what has no effect is an error here
        edits = initialize_(network, sample.inputs.float(), scheme=scheme, seed=seed, **choice)
    if not edits.applied:
        why = "; ".join(dict.fromkeys(edit.reason for edit in edits)) or "it has no weights"
        raise ModelError(f"MODEL {model!r}: no layer was set ({why}), so nothing is written; change --where or --skip.")
    write_atomically(out, lambda path: torch.save(network.state_dict(), path))
    console = Console()
    console.print(_table(edits))
    console.print(f"{len(edits.applied)} layers set, {len(edits.refused)} left alone. Written: [bold]{out}[/]")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _table(edits: Edits) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("layer", "done", "std as drawn", "std as set", "why"):
        table.add_column(column, justify="right" if "std" in column else "left")
    for edit in edits:
        stds = ("" if std is None else f"{std:.3f}" for std in (edit.before, edit.after))
        table.add_row(edit.layer, edit.action if edit.applied else "left alone", *stds, edit.reason)
    return table

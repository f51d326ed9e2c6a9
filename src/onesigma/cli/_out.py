"""What `check --fix` leaves in its folder: weights, input statistics, reports, and a file that loads them."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from onesigma._errors import OutputError
from onesigma.report.mended import edits_diff
from onesigma.workflows.problem import Problem
from onesigma.workflows.repair import Repair

__all__ = ["write_atomically", "write_repair"]


def write_repair(
    repair: Repair, out: Path, *, spec: str, problem: Problem, norm: Literal["before", "after"] | None
) -> str:
    """Write model.pt, inputs.json, report.html, report.json, edits.diff and load.py; return lines that say so.

    Raises:
        OutputError: The folder or a file in it cannot be written.
    """
    _make_folder(out)
    report = repair.report
    write_atomically(out / "model.pt", lambda path: torch.save(repair.model.state_dict(), path))
    if repair.scaler is not None:
        repair.scaler.save(out / "inputs.json", date=report.meta.date)
    code = _loader(repair, spec=spec, problem=problem, norm=norm)
    texts = {"report.html": report.to_html(), "report.json": report.to_json(), "load.py": code}
    texts["edits.diff"] = edits_diff(report.edits)
    for name, text in texts.items():
        write_atomically(out / name, partial(_write_text, text=text))
    names = ["model.pt", "inputs.json", "report.html", "report.json", "edits.diff", "load.py"]
    written = "\n".join(f"  {out / name}" for name in names if (out / name).exists())
    return f"[bold]written[/]\n{written}\nUse it: [bold]load(your_model)[/] of {out / 'load.py'}"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside and move into place, so that a crash leaves the old file or the new one.

    Raises:
        OutputError: The file cannot be written; nothing is left of it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    # torch.save raises RuntimeError where a folder is missing or a disk is full.
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{path}: cannot be written ({_cause(error)}); choose another place for it.") from error
    finally:
        beside.unlink(missing_ok=True)


def _write_text(path: Path, *, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: no such folder can be made ({_cause(error)}); choose another --out.") from error


def _cause(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _loader(repair: Repair, *, spec: str, problem: Problem, norm: str | None) -> str:
    """Python that makes the repaired module from a fresh one of the user's."""
    shape = f"torch.randn(8, {problem.num_features})"
    actions = {edit.action.split()[0] for edit in repair.report.edits.applied}
    steps = []
    if norm is not None:
        steps.append(f'onesigma.norm.insert_(model, {shape}, position="{norm}")')
    if "remove" in actions:
        steps.append(f"onesigma.norm.strip_biases_(model, {shape})")
    steps.append('model.load_state_dict(torch.load(HERE / "model.pt", weights_only=True))')
    result = "model"
    if repair.scaler is not None:
        result = 'nn.Sequential(onesigma.inputs.load(HERE / "inputs.json").to_module(), model)'
    body = "\n".join(f"    {step}" for step in (*steps, f"return {result}"))
    return _TEMPLATE.format(spec=spec.replace('"', "'"), num_features=problem.num_features, body=body)


_TEMPLATE = '''"""Loads what `onesigma check --fix` made of {spec}."""

from pathlib import Path

import torch
from torch import nn

import onesigma

HERE = Path(__file__).parent


def load(model: nn.Module) -> nn.Module:
    """From a model as the factory builds it to the repaired one, which takes raw inputs (N, {num_features})."""
{body}
'''

"""What `check --fix` leaves in its folder: weights, input statistics, reports, and a file that loads them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from onesigma._errors import OutputError
from onesigma.workflows import Problem, Repair

__all__ = ["write_repair"]


def write_repair(
    repair: Repair, out: Path, *, spec: str, problem: Problem, norm: Literal["before", "after"] | None
) -> str:
    """Write model.pt, inputs.json, report.html, report.json and load.py; return lines that say so.

    Raises:
        OutputError: The folder or a file in it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _replace(out / "model.pt", lambda path: torch.save(repair.model.state_dict(), path))
        if repair.scaler is not None:
            repair.scaler.save(out / "inputs.json", date=repair.report.meta.date)
        _replace(out / "report.html", lambda path: path.write_text(repair.report.to_html(), encoding="utf-8"))
        _replace(out / "report.json", lambda path: path.write_text(repair.report.to_json(), encoding="utf-8"))
        code = _loader(repair, spec=spec, problem=problem, norm=norm)
        _replace(out / "load.py", lambda path: path.write_text(code, encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error}); choose another --out.") from error
    names = ["model.pt", "inputs.json", "report.html", "report.json", "load.py"]
    written = "\n".join(f"  {out / name}" for name in names if (out / name).exists())
    return f"[bold]written[/]\n{written}\nUse it: [bold]load(your_model)[/] of {out / 'load.py'}"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside and move into place, so that a crash leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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

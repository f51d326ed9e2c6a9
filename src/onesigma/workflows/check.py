"""`check`: measure, then judge. `steps` trains a copy first, so that updates and running statistics can be judged."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from torch import nn

from onesigma._typing import Batches, Loss
from onesigma.measure import measure
from onesigma.report.report import Report
from onesigma.report.summary import Meta
from onesigma.rules import judge
from onesigma.workflows.problem import Problem

__all__ = ["SAMPLE_ROWS", "check", "check_table"]

# A table is judged on at most so many rows; its statistics are always those of all rows.
SAMPLE_ROWS = 2048


def check(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | str | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    limits: Mapping[Any, Any] | None = None,
) -> Report:
    """Measure every layer of `model` in one forward and one backward pass, and judge what was seen."""
    trace = measure(model, batches, loss=loss)
    findings = judge(trace, select=select, ignore=ignore, limits=limits)
    return Report(trace=trace, findings=findings, meta=Meta(versions=_versions()))


def check_table(model: nn.Module, problem: Problem, *, seed: int = 0, **judging: Any) -> Report:
    """`check` on at most 2048 rows of a table, drawn with `seed`; `judging` is `select`, `ignore` and `limits`."""
    return check(model, problem.sample(SAMPLE_ROWS, seed=seed).batch(), loss=problem.loss, **judging)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("onesigma", "torch")}

"""`audit`: the misfits between a model's weights and its recipe, as findings of a report."""

from dataclasses import replace

from torch import nn

from onesigma._typing import Batches
from onesigma.init.audit import Misfit
from onesigma.init.audit import audit as find_misfits
from onesigma.report.report import Report
from onesigma.rules import Finding

__all__ = ["audit", "audited"]


def audit(
    model: nn.Module, batches: Batches, *, recipe: str = "kaiming", truncated: float | None = None
) -> tuple[Finding, ...]:
    """One finding per weight that is not what `recipe` says; see `onesigma.init.audit.audit`.

    Example:
        >>> import torch
        >>> audit(nn.Linear(64, 64), torch.randn(4, 64))[0].name
        'unset'
    """
    return tuple(map(_finding, find_misfits(model, batches, recipe=recipe, truncated=truncated)))


def audited(report: Report, model: nn.Module, batches: Batches, *, recipe: str) -> Report:
    """The report with the findings of the audit behind its own."""
    return replace(report, findings=(*report.findings, *audit(model, batches, recipe=recipe)))


def _finding(misfit: Misfit) -> Finding:
    return Finding(
        code="INI207",
        name=misfit.kind,
        severity="warning",
        message=misfit.message,
        layer=misfit.weight.rpartition(".")[0],
        value=misfit.value,
        limit=misfit.expected,
        fix="onesigma.initialize_(model, batches, scheme=recipe)",
    )

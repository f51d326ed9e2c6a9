"""`audit`: the misfits between a model's weights and its recipe, as findings of a report."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import nn

from onesigma._typing import Batches
from onesigma.init.audit import audit as find_misfits
from onesigma.init.history import History
from onesigma.init.misfit import KINDS, Misfit
from onesigma.report.report import Report
from onesigma.rules import Finding, kept

__all__ = ["CODE", "PAGE", "History", "audit", "audited"]

CODE = "INI207"


def _kinds() -> str:
    return "\n".join(f"* `{kind}`: {meaning}" for kind, meaning in KINDS.items())


PAGE = f"""# INI207 off-recipe

With `--audit RECIPE` only: no pass over data can tell what an initialization was meant to be.

## What it measures

For every weight the std that the recipe asks for, by the role and depth that the graph gives it, beside the one found.
While the factory builds the model, every write to a tensor is noted as well: by `torch.nn.init`, by `normal_` and its
like, by copies. The finding has the kind of misfit for a name:

{_kinds()}

## Why it matters

An initialization that is written and not applied raises no error: the model trains, worse or not at all.

## When it is fine

Weights that were trained, or follow another recipe; layers of so few values that a std says little.

## What to do

Draw the weights by the recipe, or repair the code that drew them: a loop over names that match nothing, a fan read from
a stacked or sharded weight, a weight that a norm's parametrization draws anew.

## Example

    onesigma.initialize_(model, batches, scheme="gpt2")

## References

docs/initialize.md; Radford et al. 2019, section 2.3 (residual writers by 1/√(2·layers)).
"""


def audit(
    model: nn.Module | Callable[[], nn.Module],
    batches: Batches,
    *,
    recipe: str = "kaiming",
    truncated: float | None = None,
    history: History | None = None,
) -> tuple[Finding, ...]:
    """One finding per weight that is not what `recipe` says; see `onesigma.init.audit.audit`.

    Example:
        >>> import torch
        >>> audit(lambda: nn.Linear(64, 64), torch.randn(4, 64))[0].name
        'unset'
    """
    return tuple(map(_finding, find_misfits(model, batches, recipe=recipe, truncated=truncated, history=history)))


def audited(
    report: Report,
    model: nn.Module,
    batches: Batches,
    *,
    recipe: str,
    truncated: float | None = None,
    history: History | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Report:
    """The report with the findings of the audit behind its own: those that are selected, as in `check`."""
    found = audit(model, batches, recipe=recipe, truncated=truncated, history=history)
    return replace(report, findings=(*report.findings, *kept(found, select=select, ignore=ignore)))


def _finding(misfit: Misfit) -> Finding:
    return Finding(
        code=CODE,
        name=misfit.kind,
        severity="warning",
        message=misfit.message,
        layer=misfit.weight.rpartition(".")[0],
        value=misfit.value,
        limit=misfit.expected,
        fix="onesigma.initialize_(model, batches, scheme=recipe)",
    )

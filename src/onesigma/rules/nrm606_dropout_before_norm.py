"""Dropout in front of a batch norm: it tracks a variance that eval mode does not have.

## What it measures

The rate p of a dropout whose result reaches a batch norm directly or through one weighted layer. Limits: info beyond
0, warning beyond 0.4. Source: dropout multiplies E[x²] by 1/(1 − p) in training only, so at p = 0.5 the running
variance is up to twice that of eval mode.

## Why it matters

Training hides it, evaluation pays: every such norm divides by a std that is too large, and the shift multiplies with
depth.

## When it is fine

Small rates and wide layers, where the shift stays below a few per cent; layer norms, which track nothing.

## What to do

Put the dropout behind the last batch norm, or calibrate the norms with the dropout switched off.

## Example

    nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))

## References

Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift,
https://arxiv.org/abs/1801.05134.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ALONG = ("shape", "activation", "pool", "dropout")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Follow every dropout to the next batch norm."""
    flow = Flow(trace)
    for dropout in trace.of_kind("dropout"):
        norm = _next_norm(flow, dropout)
        rate = dropout.attributes.get("p")
        if norm is None or rate is None:
            continue
        yield from RULE.found(
            dropout,
            float(rate),
            limits=limits,
            message=f"{dropout.name} drops {figure(100 * float(rate))} % of what {norm.name} tracks the variance of.",
            expected="dropout behind the last batch norm",
            confidence="by the graph",
            fix="onesigma.norm.calibrate_(model, batches)  # or move the dropout behind the norm",
        )


def _next_norm(flow: Flow, dropout: Record) -> Record | None:
    """The batch norm that reads this dropout, directly or through one weighted layer."""
    nearest = list(flow.readers(dropout.index, through=_ALONG))
    behind = [
        reader for linear in nearest if linear.kind == "linear" for reader in flow.readers(linear.index, through=_ALONG)
    ]
    return next((record for record in (*nearest, *behind) if record.op == "batch_norm"), None)


RULE = Rule(
    code="NRM606",
    name="dropout-before-norm",
    check=check,
    page=__doc__,
    levels=Levels(info=0.0, warning=0.4),
)

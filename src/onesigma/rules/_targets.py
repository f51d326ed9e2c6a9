"""Targets that no scale can mend: all the same, against outputs of another shape, or more than one per softmax."""

import math

from onesigma.model.trace import InputRecord, Record, Trace
from onesigma.rules._finding import Severity, figure
from onesigma.rules._flow import Flow

__all__ = ["RANGES", "is_beyond", "misfit"]

_ENOUGH_ROWS = 8
_ELEMENTWISE = (
    "mse",
    "mse_loss",
    "MSELoss",
    "l1",
    "l1_loss",
    "L1Loss",
    "smooth_l1",
    "SmoothL1Loss",
    "huber",
    "HuberLoss",
)


RANGES = {
    **dict.fromkeys(("sigmoid", "softmax", "hardsigmoid"), (0.0, 1.0)),
    **dict.fromkeys(("tanh", "hardtanh", "softsign"), (-1.0, 1.0)),
    **dict.fromkeys(("relu", "softplus"), (0.0, math.inf)),
}
"""What the last activation can say."""


def is_beyond(record: Record, targets: InputRecord) -> bool:
    """The targets go beyond what this output can say, by more than rounding."""
    if record.op not in RANGES or targets.signal is None:
        return False
    low, high = RANGES[record.op]
    slack = 1e-3 * max(abs(targets.signal.minimum), abs(targets.signal.maximum))
    return targets.signal.minimum < low - slack or targets.signal.maximum > high + slack


def misfit(trace: Trace, flow: Flow) -> tuple[Severity, str] | None:
    """How grave it is, and a sentence; None for targets that fit their outputs."""
    targets = trace.targets
    if targets is None or not targets.shape:
        return None
    for record in flow.returned:
        if _is_outer(trace, targets, record):
            return "error", (
                f"Targets of shape {targets.shape} are broadcast against outputs of shape {record.shape}: "
                "every output is compared with every target, so all learn the targets' mean."
            )
        if record.op == "softmax" and (total := _total(targets, record)) is not None:
            return "error", (
                f"The labels of a row sum to {figure(total)}, and {record.name} (softmax) only gives what sums to 1: "
                "labels that are not exclusive need a sigmoid each."
            )
    if targets.shape[0] >= _ENOUGH_ROWS and (same := _same(targets)):
        return "warning", f"Every target of the {targets.shape[0]} rows is {same}: there is nothing to tell apart."
    return None


def _is_outer(trace: Trace, targets: InputRecord, record: Record) -> bool:
    """(N,) meets (N, 1): together they make (N, N), more than either holds, and the loss was seen to do so."""
    ours, theirs = record.shape, targets.shape
    if targets.kind in ("labels", "tokens") or {len(ours), len(theirs)} != {1, 2} or trace.loss is None:
        return False
    column = theirs if len(theirs) == 2 else ours
    if column[1] != 1 or ours[0] != theirs[0] or ours[0] < 2:
        return False
    behind = (other for other in trace.records if other.index > record.index)
    return trace.loss.name in _ELEMENTWISE or any(other.shape == (ours[0], ours[0]) for other in behind)


def _total(targets: InputRecord, record: Record) -> float | None:
    """What the labels of a row sum to, where that is not 1."""
    if targets.shape != record.shape or len(targets.shape) != 2 or record.shape[1] < 2 or targets.signal is None:
        return None
    total = sum(column.mean for column in targets.columns)
    is_binary = targets.signal.minimum >= 0 and targets.signal.maximum == 1
    return total if is_binary and len(targets.columns) == record.shape[1] and abs(total - 1) > 1e-3 else None


def _same(targets: InputRecord) -> str:
    """What all of them are; empty where they differ."""
    if targets.kind == "labels":
        is_one = targets.num_classes > 1 and len(targets.shape) == 1 and abs(targets.entropy) == 0
        return "one class" if is_one else ""
    if not targets.columns or any(column.std for column in targets.columns):
        return ""
    is_number = len(targets.columns) == 1 and math.isfinite(targets.columns[0].mean)
    return figure(targets.columns[0].mean) if is_number else "the same"

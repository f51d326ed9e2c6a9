"""Targets that no scale can mend: all the same, of another shape, or outside of what their loss is defined for."""

import math

from onesigma.model.trace import InputRecord, Record, Trace
from onesigma.rules._finding import Severity, figure
from onesigma.rules._flow import Flow

__all__ = ["is_beyond", "misfit", "reach_of", "undefined"]

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

_DOMAINS = {
    **dict.fromkeys(("binary_cross_entropy", "binary_cross_entropy_with_logits"), (0.0, 1.0)),
    "poisson_nll": (0.0, math.inf),
}
"""What a likelihood is defined for; torch takes other targets without a word."""


def reach_of(flow: Flow, record: Record) -> tuple[float, float] | None:
    """What this output can say; less where a rectifier lies before it, or is all there is. None for no activation."""
    if record.op not in RANGES:
        return None
    low, high = RANGES[record.op]
    names = [loss.op for loss in flow.trace.of_kind("loss")] or [flow.trace.loss.name if flow.trace.loss else ""]
    if record.op in _NEVER_NEGATIVE and names[0] == "binary_cross_entropy_with_logits":
        return 0.5, 1.0
    before = (flow.by_index.get(index) for index in flow.sources(record))
    is_positive = any(source is not None and source.op in _NEVER_NEGATIVE for source in before)
    return (_AT_ZERO.get(record.op, low) if is_positive else low), high


_NEVER_NEGATIVE = ("relu", "softplus")

_AT_ZERO = {"sigmoid": 0.5, "hardsigmoid": 0.5, "tanh": 0.0, "hardtanh": 0.0, "softsign": 0.0}
"""The least that remains of an activation whose input is never negative."""


def is_beyond(flow: Flow, record: Record, targets: InputRecord) -> bool:
    """The targets go beyond what this output can say, by more than rounding."""
    reach = reach_of(flow, record)
    if reach is None or targets.signal is None:
        return False
    return _is_outside(targets.signal.minimum, targets.signal.maximum, reach)


def _is_outside(lowest: float, highest: float, bounds: tuple[float, float]) -> bool:
    slack = 1e-3 * max(abs(lowest), abs(highest))
    return lowest < bounds[0] - slack or highest > bounds[1] + slack


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


def undefined(trace: Trace) -> tuple[Severity, str] | None:
    """As `misfit`, for targets that their loss is not defined for; None where it is, or where they are not known."""
    for loss in trace.of_kind("loss"):
        name = loss.op.removesuffix("_loss")
        seen = loss.attributes.get("target_min"), loss.attributes.get("target_max")
        low, high = _DOMAINS.get(name, (-math.inf, math.inf))
        if isinstance(seen[0], float) and isinstance(seen[1], float) and _is_outside(seen[0], seen[1], (low, high)):
            wanted = f"from {figure(low)} to {figure(high)}" if high < math.inf else f"of {figure(low)} and more"
            return "error", (
                f"The targets lie between {figure(seen[0])} and {figure(seen[1])}; {name} is a likelihood of targets "
                f"{wanted} alone, and can fall without end."
            )
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

"""The gradient along the trunk of a model, as rules about vanishing and exploding gradients read it."""

from dataclasses import dataclass
from math import prod, sqrt

from onesigma.model.trace import Record
from onesigma.rules._flow import Flow

__all__ = ["Profile", "averaging", "gradient_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """The norm of ∂loss/∂signal at the first and the last hidden place of the trunk.

    Norms, not std, are compared: an isometry keeps the norm also where the width changes. An average over k
    positions divides the norm by √k without any loss of information, which is made good.

    Attributes:
        first: The earliest hidden place.
        last: The place that the head reads.
        depth: How many weighted layers lie between them, the later one included.
        ratio: Norm at the first over norm at the last; 0 where no gradient arrives at the first.
        is_normalized: Whether a norm lies between: then a layer's step does not grow with its gradient.
        is_batch_normalized: Whether it is one over the batch, by the batch's own statistics.
    """

    first: Record
    last: Record
    depth: int
    ratio: float
    is_normalized: bool
    is_batch_normalized: bool


def gradient_profile(flow: Flow) -> Profile | None:
    """The profile; None where there are not two hidden places, or a head that starts at zero holds it back."""
    heads = [head.index for head in flow.heads()]
    end = min(heads, default=max(flow.by_index, default=-1))
    begin = max((record.index for record in flow.bottlenecks if _adds_a_part(flow, record)), default=-1)
    trunk = [record for record in flow.bottlenecks if begin < record.index < end]
    hidden = [record for record in trunk if record.kind in ("linear", "join", "recurrent", "attention")]
    if _waits_for_zero_weights(flow):
        hidden = [record for record in hidden if norm_of(record) > 0]
    if len(hidden) < 2:
        return None
    first, last = hidden[0], hidden[-1]
    between = [record for record in flow.trace.records if first.index < record.index <= last.index]
    depth = sum(record.kind in ("linear", "recurrent", "attention") for record in between)
    if not depth:
        return None
    regained = prod(averaging(record) for record in trunk if first.index < record.index <= last.index)
    ratio = norm_of(first) * regained / norm_of(last) if norm_of(last) else 0.0
    norms = [record for record in between if record.kind == "norm"]
    by_batch = any(record.op == "batch_norm" and record.training for record in norms)
    return Profile(first, last, depth, ratio, bool(norms), by_batch)


def _adds_a_part(flow: Flow, record: Record) -> bool:
    """A learned part comes beside the signal, as a class token: the gradient may well arrive at that part alone."""
    if record.kind != "concat" or record.output is None:
        return False
    parts = [flow.by_index[index].output for index in record.inputs if index in flow.by_index]
    return sum(part.count for part in parts if part is not None) < record.output.count


def norm_of(record: Record) -> float:
    """‖∂loss/∂output‖ over the batch."""
    return record.gradient.rms * sqrt(record.gradient.count) if record.gradient is not None else 0.0


def averaging(record: Record) -> float:
    """√k for an average over k positions, 1/√k for a sum, 1 for anything else."""
    if record.kind not in ("pool", "reduce") or record.input is None or record.output is None or "max" in record.op:
        return 1.0
    factor = sqrt(record.input.count / max(record.output.count, 1))
    return 1 / factor if "sum" in record.op else factor


def _waits_for_zero_weights(flow: Flow) -> bool:
    """True where some weight is all zero and learns: it holds back the gradient of the others, for one step."""
    return any(
        parameter.value.rms == 0 and parameter.gradient is not None and parameter.gradient.rms > 0
        for parameter in flow.trace.parameters
    )

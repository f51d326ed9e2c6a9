"""How far a loss is from chance, in nats, whatever the loss."""

import math

from onesigma.model.trace import InputRecord, LossRecord, Record, Trace
from onesigma.rules._flow import Flow

__all__ = ["entries_summed", "entropy_of_targets", "excess", "loud_head", "spread_of_draws"]


def excess(loss: LossRecord | None) -> float | None:
    """Nats above chance: the difference for likelihoods, ½·ln of the ratio for squared errors, ln for absolute ones.

    Example:
        >>> excess(LossRecord(name="mse", value=4.0, chance=1.0, chance_name="variance of the targets")) == math.log(2)
        True
    """
    if loss is None or loss.chance is None or loss.chance < 0 or not math.isfinite(loss.value):
        return None
    words = f"{loss.name} {loss.chance_name}".lower()
    is_squared = "mse" in words or "variance" in words
    if not (is_squared or any(word in words for word in ("l1", "deviation", "huber", "absolute"))):
        return (loss.value - loss.chance) / _summed(loss.chance, loss.chance_name)
    if loss.value <= 0 or loss.chance <= 0:
        return None
    return (0.5 if is_squared else 1.0) * math.log(loss.value / loss.chance)


def entries_summed(loss: LossRecord | None, targets: InputRecord | None) -> float:
    """How many entries the loss adds up: chance level over that of one entry; 1 for a mean, or where it is unknown.

    Example:
        >>> entries_summed(LossRecord(name="nll", value=9.0, chance=8 * math.log(3), chance_name="log 3"), None)
        8.0
    """
    if loss is None or not loss.chance:
        return 1.0
    if "variance" in loss.chance_name and targets is not None and targets.columns:
        variance = sum(column.std**2 for column in targets.columns) / len(targets.columns)
        return loss.chance / variance if variance else 1.0
    return _summed(loss.chance, loss.chance_name)


def _summed(chance: float, name: str) -> float:
    """How many times the named level the chance is: the number of entries for a sum, 1 for a mean."""
    word, _, number = name.partition(" ")
    return chance / math.log(float(number)) if word == "log" and number.isdigit() and float(number) > 1 else 1.0


def spread_of_draws(trace: Trace, flow: Flow) -> float:
    """By what share the logits' std differs from draw to draw: √(Σ 1/(2·fan_in)) over the layers that set it.

    A norm sets it anew, so that behind one only the narrowest head counts.
    """
    fans = [record.fan_in for record in trace.of_kind("linear") if record.fan_in]
    if any(True for _ in trace.of_kind("norm")) or not fans:
        fans = sorted(head.fan_in for head in flow.heads() if head.fan_in)[:1]
    return math.sqrt(sum(0.5 / fan for fan in fans))


def entropy_of_targets(trace: Trace) -> float:
    """Of the targets: what a model pays that knows their frequencies alone; 0 where that is unknown."""
    if trace.targets is None or trace.loss is None or trace.targets.entropy:
        return trace.targets.entropy if trace.targets is not None else 0.0
    shares = [column.mean for column in trace.targets.columns]
    if trace.loss.chance_name != "log 2" or not all(0 <= share <= 1 for share in shares):
        return 0.0
    return sum(-p * math.log(p) for share in shares for p in (share, 1 - share) if p > 0) / max(len(shares), 1)


_LOUD = 3.0


def loud_head(flow: Flow) -> Record | None:
    """The only head, if its own gain, std(out)/rms(in), makes the logits large."""
    heads = list(flow.heads())
    head = heads[0] if len(heads) == 1 else None
    if head is None or head.input is None or head.output is None:
        return None
    return head if head.output.std > _LOUD * head.input.rms else None

"""Whether the measured model is still at its start."""

import math

from onesigma.model.trace import Record, Trace

__all__ = ["has_moved", "looks_trained"]


def looks_trained(trace: Trace) -> bool:
    """True where the loss is well below what a model pays that knows nothing: then initialization is history.

    Example:
        >>> from onesigma.model.trace import LossRecord
        >>> looks_trained(Trace(loss=LossRecord(name="cross_entropy", value=0.2, chance=2.303)))
        True
    """
    loss = trace.loss
    return loss is not None and loss.chance is not None and loss.chance > 0 and loss.value < 0.7 * loss.chance


def has_moved(trace: Trace, linear: Record) -> bool:
    """True where a layer's bias is neither one number throughout nor what torch draws, U(±1/√fan_in)."""
    bias = trace.parameter(linear.parameters.get("bias", ""))
    if bias is None or bias.value.std == 0 or not linear.fan_in:
        return False
    bound = 1 / math.sqrt(linear.fan_in)
    # The mean square of n uniform draws has the relative standard error √(4/5n), its root half of that; four of them.
    error = 4 * math.sqrt(0.2 / bias.value.count)
    is_within = max(abs(bias.value.minimum), abs(bias.value.maximum)) <= bound * (1 + 1e-6)
    return not is_within or abs(bias.value.rms * math.sqrt(3) / bound - 1) > error

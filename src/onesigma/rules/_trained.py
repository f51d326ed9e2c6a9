"""Whether the measured model is still at its start."""

from onesigma.model.trace import Trace

__all__ = ["looks_trained"]


def looks_trained(trace: Trace) -> bool:
    """True where the loss is well below what a model pays that knows nothing: then initialization is history.

    Example:
        >>> from onesigma.model.trace import LossRecord
        >>> looks_trained(Trace(loss=LossRecord(name="cross_entropy", value=0.2, chance=2.303)))
        True
    """
    loss = trace.loss
    return loss is not None and loss.chance is not None and loss.chance > 0 and loss.value < 0.7 * loss.chance

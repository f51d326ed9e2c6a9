"""Measuring: one forward and one backward pass over a model, in numbers. `measure` is the verb."""

from onesigma.measure.losses import criterion_of
from onesigma.measure.passes import measure

__all__ = ["criterion_of", "measure"]

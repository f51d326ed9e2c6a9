"""Measuring: one forward and one backward pass over a model, in numbers. `measure` is the verb."""

from onesigma.measure.contrasts import contrasted
from onesigma.measure.losses import criterion_of
from onesigma.measure.passes import measure

__all__ = ["contrasted", "criterion_of", "measure"]

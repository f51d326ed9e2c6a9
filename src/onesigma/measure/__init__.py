"""Measuring: one forward and one backward pass over a model, in numbers. `measure` is the verb."""

from onesigma.measure.contrasts import contrasted, measure_contrasted
from onesigma.measure.passes import measure
from onesigma.measure.states import measure_state
from onesigma.measure.weight_files import holds_weights, load_weights
from onesigma.model.criterion import criterion_of

__all__ = [
    "contrasted",
    "criterion_of",
    "holds_weights",
    "load_weights",
    "measure",
    "measure_contrasted",
    "measure_state",
]

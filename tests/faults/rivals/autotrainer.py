"""AutoTrainer's detectors with the constants of its repository (beta 1e-3, 1e-4, 70; gamma 0.7; omega 10, 1).

Left out, since they need epochs: oscillating loss, slow convergence, not converged.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace

from ._shared import mean_abs, weights


def autotrainer(trace: Trace) -> Iterator[str]:
    found = [weight.gradient for weight in weights(trace) if weight.gradient is not None]
    norms = [gradient.rms * math.sqrt(gradient.count) for gradient in found]
    if len(norms) > 1 and norms[-1] > 0:
        ratio = norms[0] / norms[-1]
        if ratio < 1e-3 and norms[0] < 1e-4:
            yield "GRA401"
        if ratio > 70:
            yield "GRA402"
    # Dying ReLU: share of exactly zero gradient entries; where a unit is dead its whole row is zero.
    for record in trace.of_kind("relu"):
        if record.activity is not None and record.activity.dead_units >= 0.7:
            yield "ACT302"
    if trace.loss is not None and (not math.isfinite(trace.loss.value) or trace.loss.value >= 1e3):
        yield from ("LOS701", "NUM901")
    for record in trace.of_kind("activation"):
        if record.output is not None and mean_abs(record.output) >= 10:
            yield from ("INP101", "INP102")  # abnormal data
    for weight in weights(trace):
        if max(abs(weight.value.minimum), abs(weight.value.maximum)) > 5:
            yield "INI201"

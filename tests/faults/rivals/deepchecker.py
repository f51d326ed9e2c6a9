"""TheDeepChecker's checks with the constants of its settings file, before and at the first step.

Left out, since they need steps: update ratios, trends of gradients and losses, overfitting one batch.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace

from ._shared import activations, mean_abs, weights


def deepchecker(trace: Trace) -> Iterator[str]:
    for data in trace.inputs:
        for column in data.columns:
            fits = _near(column.minimum, 0) and _near(column.maximum, 1)
            fits |= _near(column.minimum, -1) and _near(column.maximum, 1)
            fits |= abs(column.mean) < 0.1 and abs(column.std - 1) < 0.1
            if column.std == 0:
                yield "INP103"
            elif not fits:
                yield from ("INP101", "INP102")
    if trace.targets is not None and trace.targets.kind not in ("labels", "tokens"):
        for column in trace.targets.columns:
            if not (abs(column.mean) < 0.1 and abs(column.std - 1) < 0.1) and not (
                0 <= column.minimum <= column.maximum <= 1
            ):
                yield "INP105"
    for weight in weights(trace):
        if weight.value.std < 1e-8:
            yield from ("INI204", "INI202")
        fan_in = math.prod(weight.shape[1:])
        # Its F-test takes a critical value of 2.70554 whatever the sample: errors of the std beyond a factor 1.645.
        ratio = weight.value.std**2 * fan_in / 2
        if weight.value.std and not 1 / 2.70554 < ratio < 2.70554:
            yield "INI201" if ratio > 1 else "INI202"
        gradient = weight.gradient
        assert gradient is not None
        if mean_abs(gradient) < 1e-6:
            yield "GRA401"
        if mean_abs(gradient) > 1e6:
            yield "GRA402"
    loss = trace.loss
    if loss is not None and loss.chance is not None and abs(loss.value - loss.chance) >= loss.chance:
        yield "LOS701" if loss.value > loss.chance else "LOS702"
    if loss is not None and loss.doubled is not None and loss.doubled > 1.5 * loss.value:
        yield "LOS703"
    if trace.coupling:
        yield "NRM605"
    for record in activations(trace):
        if record.output is not None and not 0.5 <= record.output.std <= 2:
            yield "INI201" if record.output.std > 2 else "INI202"
        if record.activity is not None and record.activity.dead_units > 0.5:
            yield "ACT302"
        if record.op in ("tanh", "sigmoid") and record.activity is not None and record.activity.saturated > 0.85:
            yield "ACT301"
    if loss is not None and loss.in_eval is not None and abs(loss.in_eval - loss.value) > 0.5 * loss.value:
        yield from ("NRM603", "NRM602")
    if any(signal.nonfinite for record in trace.records if (signal := record.output) is not None):
        yield "NUM901"


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 0.1

"""DeepDiagnosis' symptoms with the constants of its callback.

Left out, since they need steps: unchanged tensor, invalid accuracy; and the learning rate, which is no part of a trace.
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace

from ._shared import activations, made_by, mean_abs, share_beyond, weights


def deepdiagnosis(trace: Trace) -> Iterator[str]:
    for record in activations(trace, "relu"):
        # Dead node: at least 0.7 of the outputs are 0 or less.
        firing = record.activity.firing if record.activity else ()
        if firing and 1 - sum(firing) / len(firing) >= 0.7:
            yield "ACT302"
    for record in activations(trace, "tanh", "sigmoid"):
        signal = made_by(trace, record)
        if signal is not None and share_beyond(signal, -5, 5) > 0.5:
            yield "ACT301"
    for weight in weights(trace):
        gradient = weight.gradient
        assert gradient is not None
        if gradient.nonfinite:
            yield "NUM901"
        elif mean_abs(gradient) < 1e-7:
            yield "GRA401"
        # Tensor variance of the weights outside 1e-5 to 10.
        if weight.value.std**2 < 1e-5:
            yield "INI202"
        if weight.value.std**2 > 10:
            yield "INI201"
    if trace.loss is not None and not math.isfinite(trace.loss.value):
        yield "NUM901"
    # Out of range: targets that the last activation cannot reach.
    last = next((record for record in reversed(trace.records) if record.kind == "activation"), None)
    if last is not None and last.index in trace.outputs and trace.targets is not None and trace.targets.signal:
        low, high = {"sigmoid": (0, 1), "tanh": (-1, 1), "relu": (0, math.inf)}.get(last.op, (-math.inf, math.inf))
        if trace.targets.signal.minimum < low or trace.targets.signal.maximum > high:
            yield "INP105"

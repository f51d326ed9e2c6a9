"""The pre-activations inside a fused recurrent layer, from its weights and what it reads and writes."""

import math

from onesigma.model.trace import Record, Trace

__all__ = ["recurrent_std"]


def recurrent_std(trace: Trace, record: Record) -> float | None:
    """The largest std of W·x + U·h over the layers, as random weights make it: √(Σ fan_in · rms(w)² · rms(signal)²).

    The first layer reads the input; what the others read, and every state, is taken to be of the scale of the output.
    None where the weights are unknown.
    """
    if record.input is None or record.output is None:
        return None
    variances: dict[str, float] = {}
    for role, name in record.parameters.items():
        part, _, place = role.removeprefix("weight_").partition("_")
        weight = trace.parameter(name)
        if weight is None or not role.startswith("weight_") or part not in ("ih", "hh"):
            continue
        signal = record.input if part == "ih" and place in ("", "l0", "l0_reverse") else record.output
        added = weight.shape[-1] * (weight.value.rms * signal.rms) ** 2
        variances[place] = variances.get(place, 0.0) + added
    return math.sqrt(max(variances.values())) if variances else None

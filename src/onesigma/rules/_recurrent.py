"""The pre-activations inside a fused recurrent layer, from its weights and what it reads and writes."""

import math

from onesigma.model.trace import Record, Trace

__all__ = ["WITH_TANH", "recurrent_std", "saturated_share"]

WITH_TANH = ("lstm", "gru", "rnn_tanh")
"""Recurrent layers whose new state is a tanh; their gates may well be open or shut."""

_FLAT = math.atanh(math.sqrt(1 - 0.06))
"""From here on the slope of tanh, 1 − tanh², is below 0.06."""


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


def saturated_share(std: float) -> float:
    """The share of N(0, std²) on which tanh is flat.

    Example:
        >>> round(saturated_share(1.0), 3), round(saturated_share(5 / 3), 2), saturated_share(0.0)
        (0.037, 0.21, 0.0)
    """
    return math.erfc(_FLAT / (std * math.sqrt(2))) if std > 0 else 0.0

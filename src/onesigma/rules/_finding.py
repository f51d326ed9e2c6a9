"""What a rule says: one sentence with its number, how bad it is, and the line that mends it."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["SEVERITIES", "Finding", "Severity", "figure", "lowered"]

Severity: TypeAlias = Literal["info", "warning", "error"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")
"""From mild to grave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One verdict about one place of a model.

    Attributes:
        code: Code of the rule: "INI201".
        name: Name of the rule: "preactivation-too-large".
        severity: "info", "warning" or "error": from the distance to the limit and the confidence in the number.
        layer: Dotted path of the layer; "inputs.NAME" or "targets" for data; "" for the model as a whole.
        call: Which call of that layer.
        message: One sentence: the cause, with the number.
        value: The number that was judged.
        limit: The limit of this severity, widened as the confidence in the number asks.
        fix: One line of code, or of shell, that mends it.
        expected: The healthy range, in words.
        confidence: What the number rests on, in words: samples, units, standard errors.
        cause: Code of the finding that explains this one; "" where it stands for itself.
        index: Position of the call in the trace; −1 for data and for the model as a whole.
    """

    code: str
    name: str
    severity: Severity
    message: str
    layer: str = ""
    call: int = 0
    value: float = math.nan
    limit: float = math.nan
    fix: str = ""
    expected: str = ""
    confidence: str = ""
    cause: str = ""
    index: int = -1


def lowered(severity: Severity, steps: int = 1) -> Severity:
    """The severity `steps` milder, at the mildest "info".

    Example:
        >>> lowered("error"), lowered("info")
        ('warning', 'info')
    """
    return SEVERITIES[max(SEVERITIES.index(severity) - steps, 0)]


def figure(value: float) -> str:
    """A number as people read it: three significant digits, no exponent between 0.001 and 100000.

    Example:
        >>> figure(0.31988), figure(746.893), figure(1e-7), figure(21.0)
        ('0.32', '747', '1e-07', '21')
    """
    if 1000 <= abs(value) < 100_000:
        return f"{value:.0f}"
    return f"{value:.3g}"

"""A float16 signal near the ends of its range.

## What it measures

For results in float16, the largest value over 65504, where it overflows; for their gradients, the smallest normal
number, 6.1e-5, over their rms: below it they lose bits, below 6e-8 they are zero. The value is the larger of both
ratios. Limits: info beyond 0.03, warning beyond 0.25, error beyond 10 (an rms of 6e-6, of which most is lost).
bfloat16 has the range of float32 and is not judged. Source: IEEE 754 binary16.

## Why it matters

An overflow is an infinity and then a NaN; an underflow is a gradient of exactly zero, which looks like a frozen layer.

## When it is fine

Small gradients under a GradScaler, which multiplies the loss by 65536 before they are computed.

## What to do

Scale the loss (torch.amp.GradScaler), use bfloat16, or bring the signals to unit scale, where no float16 comes near
its ends.

## Example

    scaler = torch.amp.GradScaler()

## References

Micikevicius et al. 2018 (mixed precision), https://arxiv.org/abs/1710.03740; Blake et al. 2023 (unit scaling),
https://arxiv.org/abs/2303.11257.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_LARGEST, _SMALLEST_NORMAL = 65504.0, 2.0**-14


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge how near float16 signals come to the ends of their range."""
    for record in trace.records:
        if record.dtype != "float16" or record.output is None:
            continue
        peak = max(abs(record.output.minimum), abs(record.output.maximum))
        rms = record.gradient.rms if record.gradient is not None else 0.0
        forward, backward = peak / _LARGEST, _SMALLEST_NORMAL / rms if rms else 0.0
        yield from RULE.found(
            record,
            max(forward, backward),
            limits=limits,
            message=_message(record, peak, rms, overflows=forward >= backward),
            expected="values below 2000, gradients above 0.002",
            confidence=f"{record.output.count} values",
            fix="with torch.autocast(device, dtype=torch.bfloat16): ...",
        )


def _message(record: Record, peak: float, rms: float, *, overflows: bool) -> str:
    if overflows:
        return f"{record.name} reaches {figure(peak)}; float16 ends at 65504."
    return f"{record.name}: its gradient has an rms of {figure(rms)}; float16 loses bits below 6.1e-05."


RULE = Rule(
    code="NUM902",
    name="half-precision-range",
    check=check,
    page=__doc__,
    levels=Levels(info=0.03, warning=0.25, error=10.0),
)

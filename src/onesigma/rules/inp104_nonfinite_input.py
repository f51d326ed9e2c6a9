"""NaN or infinity in the batch.

## What it measures

The number of values that are not finite, in every input that weights read and in the targets. Any at all is an error.
Attention masks with minus infinity are not read by weights and are left alone.

## Why it matters

One such value makes the loss NaN, and one step later every parameter. In a batch norm it stays in the running
statistics.

## When it is fine

Never in numbers; a model that takes missing values needs a mask beside a filled-in number.

## What to do

Drop the rows, or fill the gaps with the column's mean, which is zero once it is standardized.

## Example

    x = torch.nan_to_num(scaler.transform(x), nan=0.0)

## References

pytorch issue 90342 (one infinity in the running statistics of a batch norm).
"""

from collections.abc import Iterator

from onesigma.model.trace import InputRecord, Trace
from onesigma.rules._columns import fed_inputs, label
from onesigma.rules._finding import Finding
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Count what is not finite in the data."""
    for _, data in fed_inputs(Flow(trace)):
        yield from _judged(data, f"inputs.{data.name}", f"Input {data.name}", limits)
    if trace.targets is not None:
        yield from _judged(trace.targets, "targets", "The targets", limits)


def _judged(data: InputRecord, layer: str, subject: str, limits: Limits) -> Iterator[Finding]:
    bad = [column for column in data.columns if column.nonfinite]
    number = sum(column.nonfinite for column in bad) or (data.signal.nonfinite if data.signal is not None else 0)
    where = f", the first in {label(data, bad[0])}" if bad and len(data.columns) > 1 else ""
    verb = "hold" if layer == "targets" else "holds"
    yield from RULE.found(
        layer,
        number,
        limits=limits,
        message=f"{subject} {verb} {number} NaN or infinite value{'s' * (number > 1)}{where}.",
        expected="finite values",
        confidence=f"{data.shape[0] if data.shape else 0} rows",
        fix="x = torch.nan_to_num(scaler.transform(x), nan=0.0)",
    )


RULE = Rule(code="INP104", name="nonfinite-input", check=check, page=__doc__, levels=Levels(error=0.0))

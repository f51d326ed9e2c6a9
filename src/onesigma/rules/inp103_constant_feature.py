"""An input column that never changes tells nothing, and often says that something upstream broke.

## What it measures

The number of columns with a variance of exactly zero, of every input that weights read. Any at all is a warning; an
info for images, for columns that sit at the common lower end of the data (borders of pictures, rare words and
categories), and below 32 rows, where a column may be constant by chance. Source: TheDeepChecker's test for constant
features.

## Why it matters

Its weights are a second bias that nobody draws for: at the start a large constant shifts every unit of the first
layer. Dividing by its std divides by zero. A column that is constant in this file and not in the next one is a
surprise in production.

## When it is fine

One-hot and counted words, black borders, an intercept column that is meant.

## What to do

Drop the column, or find out why it does not vary. onesigma's scalers map it to zero.

## Example

    scaler = onesigma.standardize("train.parquet")   # lists the constant columns

## References

Nikanjam et al. 2021 (TheDeepChecker), https://arxiv.org/abs/2204.00694.
"""

from collections.abc import Iterator

from onesigma.model.trace import Column, InputRecord, Trace
from onesigma.rules._columns import fed_inputs, label, standardizing
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ENOUGH_ROWS = 32


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Count the constant columns of every input that weights read."""
    for _, data in fed_inputs(Flow(trace)):
        constant = [column for column in data.columns if column.std == 0 and not column.nonfinite]
        if not constant:
            continue
        first = label(data, constant[0]) + (f" and {len(constant) - 1} more" if len(constant) > 1 else "")
        yield from RULE.found(
            f"inputs.{data.name}",
            len(constant),
            limits=limits,
            at_most="info" if _is_expected(data, constant) else "warning",
            message=f"Input {data.name}: {first} never changes from {figure(constant[0].mean)}.",
            expected="columns that vary",
            confidence=f"{data.shape[0]} rows",
            fix=standardizing(data),
        )


def _is_expected(data: InputRecord, constant: list[Column]) -> bool:
    lowest = min(column.minimum for column in data.columns)
    is_floor = len(constant) < len(data.columns) and all(column.maximum in (lowest, 0.0) for column in constant)
    is_mask = data.kind == "other" and "float" not in data.dtype
    return data.kind == "image" or is_mask or is_floor or data.shape[0] < _ENOUGH_ROWS


RULE = Rule(code="INP103", name="constant-feature", check=check, page=__doc__, levels=Levels(warning=0.0))

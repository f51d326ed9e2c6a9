"""Features whose scales differ by orders of magnitude share one learning rate and one weight scale.

## What it measures

The scale of a column is the larger of its std and a quarter of its range. The value is the largest scale over the
tenth percentile of the scales (the smallest, for up to ten columns), among columns that vary. Limits: info beyond 10,
warning beyond 30, error beyond 1000. Only inputs that weights read before anything normalizes them. One step milder
where no column is larger than 10 in rms and the value is below 100: then the small ones are only faint. Source:
TheDeepChecker's range of 0.1 to 10 allows a spread of 100 at most; the condition number below is the square of the
value.

## Why it matters

The loss around the start is an ellipse whose axes are as the squared scales: the conditioning of gradient descent is
the square of this number. A column in thousands decides everything; a column in hundredths needs thousands of steps to
be heard.

## When it is fine

Pixels and counts, where a rare column varies little but reaches as far as the others; tree-like models; a norm before
the first weights.

## What to do

Standardize every column by its own mean and std.

## Example

    scaler = onesigma.standardize("train.parquet")        # one mean and one std per column
    model = nn.Sequential(scaler.to_module(), model)

## References

LeCun et al. 1998, Efficient BackProp, section 4.3; the wine data set, proline (std 315) beside hue (std 0.23).
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._columns import fed_inputs, label, scale, standardizing
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the columns of every input that weights read."""
    for _, data in fed_inputs(Flow(trace)):
        columns = sorted((c for c in data.columns if c.std > 0 and math.isfinite(c.std)), key=scale)
        if len(columns) < 2:
            continue
        small, large = columns[(len(columns) - 1) // 10], columns[-1]
        loudest = max(math.hypot(column.mean, column.std) for column in columns)
        ratio = scale(large) / scale(small)
        yield from RULE.found(
            f"inputs.{data.name}",
            ratio,
            limits=limits,
            milder=loudest < 10 and ratio < _FAINT,
            message=(
                f"Input {data.name}: {label(data, large)} (std {figure(large.std)}) is {figure(ratio)} times as wide "
                f"as {label(data, small)} (std {figure(small.std)})."
            ),
            expected="columns within a factor 10 of one another",
            confidence=f"{data.shape[0] if data.shape else 0} rows, {len(columns)} varying columns",
            fix=standardizing(data),
        )


_FAINT = 100.0
"""The spread that a std of 0.1 to 10 allows."""

RULE = Rule(
    code="INP102",
    name="feature-scale-spread",
    check=check,
    page=__doc__,
    levels=Levels(info=10.0, warning=30.0, error=1000.0),
)

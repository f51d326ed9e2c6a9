"""An input that is far from unit scale meets weights that were drawn for unit scale.

## What it measures

Every column (feature, or channel of an image) that weights read. Too large: the largest rms of a column, √(mean² +
std²). Too small: one over the largest scale of a column, the larger of its std and a quarter of its range, so that
sparse columns of 0 and 1 count as what they are. The value is the factor by which 1 is missed. Limits: info beyond 4,
warning beyond 10, error beyond 50. Columns with a norm, an embedding or a scaling layer before the first weights are
left alone; a first layer whose result is at unit scale all the same makes the finding one step milder. Sources:
TheDeepChecker's std of 0.1 to 10 (warning); pixels 0..255 have an rms near 100 (error).

## Why it matters

An initialization sets Var(y) = fan_in · Var(w) · E[x²] to 1 for E[x²] = 1. With inputs of rms 700 the first layer
starts 700 times too large: tanh and sigmoid saturate, half of the ReLUs die, the loss starts in the hundreds, and the
best learning rate for these weights is off by 700². Missing input scaling is the fault that published diagnosers
overlook most.

## When it is fine

Data squashed to 0..1 or −1..1, one-hot and sparse columns, tokens, and raw inputs whose first layer has a scaler
folded in.

## What to do

Standardize with statistics of the training set, and carry them inside the model, so that serving cannot forget them.

## Example

    scaler = onesigma.standardize("train.parquet")
    model = nn.Sequential(scaler.to_module(), model)

## References

LeCun et al. 1998, Efficient BackProp, section 4.3; Nikanjam et al. 2021 (TheDeepChecker),
https://arxiv.org/abs/2204.00694; Stack Overflow 44066044 (raw packet counters), 55328966 (pixels 0..255).
"""

from collections.abc import Iterator

from onesigma.model.trace import Column, InputRecord, Trace
from onesigma.rules._columns import (
    farthest,
    fed_inputs,
    first_layer_compensates,
    is_normalized_next,
    label,
    standardizing,
)
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the worst column of every input that weights read."""
    flow = Flow(trace)
    for index, data in fed_inputs(flow):
        found = farthest(data.columns)
        if found is None:
            continue
        worst, factor = found
        yield from RULE.found(
            f"inputs.{data.name}",
            factor,
            limits=limits,
            milder=first_layer_compensates(flow, index),
            at_most="warning" if is_normalized_next(flow, index) else "error",
            message=_message(data, worst, factor),
            expected="mean near 0, std near 1; or a range of 0 to 1",
            confidence=f"{data.shape[0] if data.shape else 0} rows",
            fix=standardizing(data),
        )


def _message(data: InputRecord, worst: Column, factor: float) -> str:
    which = (
        ""
        if len(data.columns) == 1
        else f"{label(data, worst)}, the {'widest' if factor * worst.std < 2 else 'largest'}, "
    )
    return (
        f"Input {data.name}: {which}has mean {figure(worst.mean)} and std {figure(worst.std)}, "
        f"a factor {figure(factor)} off unit scale."
    )


RULE = Rule(
    code="INP101",
    name="input-off-scale",
    check=check,
    page=__doc__,
    levels=Levels(info=4.0, warning=10.0, error=50.0),
)

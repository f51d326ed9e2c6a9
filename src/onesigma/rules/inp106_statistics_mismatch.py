"""A scaling layer at the model's input that does not fit the data it gets.

## What it measures

What a scaling layer, (x − mean)/std by constants, makes of an input of the model: the factor by which its result
misses unit scale, from its rms or from the larger of its std and a quarter of its range. Limits: info beyond 4,
warning beyond 10, error beyond 50, those of INP101.

## Why it matters

Data that were standardized twice shrink to nothing around one point; data in other units than those of training
(pixels 0..255 for 0..1, miles for meters) leave the range the model knows. Both run without an error, in training and
in serving.

## When it is fine

A layer that brings data to another range on purpose, such as logarithms or 0..255 for an embedding.

## What to do

Measure the data that the model really gets, and put the statistics in the model once, and nowhere else.

## Example

    scaler = onesigma.standardize("train.parquet")
    model[0] = scaler.to_module()

## References

Breck et al. 2019, Data validation for machine learning (training-serving skew),
https://mlsys.org/Conferences/2019/doc/2019/167.pdf.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Signal, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge what comes out of the scaling layers that read an input and that weights read."""
    flow = Flow(trace)
    for record in trace.of_kind("scale"):
        signal = record.output
        if signal is None or signal.std == 0 or not _scales_input(flow, record):
            continue
        value = max(signal.rms, 1 / max(signal.std, (signal.maximum - signal.minimum) / 4), 1.0)
        yield from RULE.found(
            record,
            value,
            limits=limits,
            message=_message(record, signal, value),
            expected="mean near 0, std near 1; or a range of 0 to 1",
            confidence=f"{signal.num_samples} samples",
            fix="scaler = onesigma.standardize(data)  # measure anew, and apply it once",
        )


def _scales_input(flow: Flow, record: Record) -> bool:
    """The last of the scaling layers between an input and the first weights."""
    comes_from_data = all(index < 0 for index in flow.sources(record, through=("shape", "dropout", "scale")))
    return bool(record.inputs) and comes_from_data and bool(flow.feeds_weights(record.index))


def _message(record: Record, signal: Signal, value: float) -> str:
    return (
        f"{record.name} makes the input mean {figure(signal.mean)} and std {figure(signal.std)}, "
        f"a factor {figure(value)} off unit scale."
    )


RULE = Rule(
    code="INP106",
    name="statistics-mismatch",
    check=check,
    page=__doc__,
    levels=Levels(info=4.0, warning=10.0, error=50.0),
)

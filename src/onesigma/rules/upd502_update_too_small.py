"""A step hardly changes a weight, or not at all.

## What it measures

std(update)/std(weight), the real difference that a step made, as the median over the measured steps; for trainable
weights of two or more dimensions. Limits: info below 1e-4, warning below 1e-5, error below 1e-12, which is not at all.
With fewer than 20 steps one step milder, unless the weight did not move at all. A warning, with or without steps: a
loss from which norms and biases alone get a gradient, because every weight is frozen. Sources: Karpathy's rule of
thumb, 0.001; TheDeepChecker's 0.0001.

## Why it matters

At 1e-5 a weight needs 100 000 steps to change by its own size. A trainable weight that does not move is missing from
the optimizer, cut off by a detach, or gets a gradient of zero.

## When it is fine

The end of a schedule, and weights that wait for a zero-initialized layer behind them for one step.

## What to do

Freeze it on purpose (`requires_grad_(False)`), hand it to the optimizer, or find where its gradient is lost (GRA401).

## Example

    optimizer.add_param_group({"params": model.head.parameters()})

## References

CS231n notes, neural networks 3, "ratio of weights:updates"; Jiang et al. 2025 (TrainCheck),
https://github.com/OrderLab/TrainCheck.
"""

from collections.abc import Iterator

from onesigma.model.trace import ParameterRecord, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._place import maker_of
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ENOUGH_STEPS = 20


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the median update of every trainable weight."""
    weights = [parameter for parameter in trace.parameters if len(parameter.shape) > 1]
    if weights and not any(weight.trainable for weight in weights) and any(p.gradient for p in trace.parameters):
        yield from RULE.found(
            "",
            0.0,
            limits=limits,
            message=f"All {len(weights)} weights are frozen: only norms and biases learn.",
            expected="a weight that learns, the head's at least",
            confidence="exact",
            fix="model.requires_grad_(True)  # and freeze what is meant to stay",
            at_most="warning",
        )
    for parameter in trace.parameters:
        if parameter.update_ratio is None or len(parameter.shape) < 2 or not parameter.trainable:
            continue
        yield from RULE.found(
            maker_of(trace, parameter.name),
            parameter.update_ratio,
            limits=limits,
            milder=parameter.num_updates < _ENOUGH_STEPS and parameter.update_ratio > 0,
            message=_message(parameter, parameter.update_ratio),
            expected="0.0001 to 0.01, near 0.001",
            confidence=f"median of {parameter.num_updates} steps",
            fix=f"optimizer.add_param_group({{'params': [model.get_parameter({parameter.name!r})]}})",
        )


def _message(parameter: ParameterRecord, ratio: float) -> str:
    if ratio:
        return f"{parameter.name}: a step changes it by only {figure(ratio)} of its own std."
    has_gradient = parameter.gradient is not None and parameter.gradient.rms > 0
    why = "though it has a gradient: the optimizer does not know it" if has_gradient else "and it gets no gradient"
    return f"{parameter.name} is trainable and no step changes it, {why}."


RULE = Rule(
    code="UPD502",
    name="update-too-small",
    check=check,
    page=__doc__,
    levels=Levels(info=1e-4, warning=1e-5, error=1e-12, below=True),
)

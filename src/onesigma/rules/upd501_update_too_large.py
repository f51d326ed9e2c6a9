"""A step changes a weight by too large a part of itself.

## What it measures

std(update)/std(weight), the real difference that a step made, as the median over the measured steps; for trained
weights of two or more dimensions that do not start at zero. Limits: info beyond 0.01, warning beyond 0.03, error
beyond 0.1. With fewer than 20 steps one step milder. Sources: Karpathy's and CS231n's rule of thumb, 0.001;
TheDeepChecker's 0.1.

## Why it matters

At 0.1 a weight is replaced every ten steps: what it learned is overwritten by the last few batches. ReLUs are thrown
into regions where they never fire again. Under Adam the first steps have a ratio of lr/std(w), so small weights are
hit hardest.

## When it is fine

The first steps of a warm-up, layers before a norm, embeddings of rare tokens.

## What to do

A smaller learning rate for this group, a warm-up, or weights at their proper scale.

## Example

    torch.optim.AdamW(params, lr=3e-4)

## References

CS231n notes, neural networks 3, "ratio of weights:updates"; Karpathy 2022, makemore part 3.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._place import maker_of
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_ENOUGH_STEPS = 20


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the median update of every trained weight."""
    for parameter in trace.parameters:
        if parameter.update_ratio is None or len(parameter.shape) < 2 or parameter.value.std == 0:
            continue
        yield from RULE.found(
            maker_of(trace, parameter.name),
            parameter.update_ratio,
            limits=limits,
            milder=parameter.num_updates < _ENOUGH_STEPS,
            message=f"{parameter.name}: a step changes it by {figure(parameter.update_ratio)} of its own std.",
            expected="0.0001 to 0.01, near 0.001",
            confidence=f"median of {parameter.num_updates} steps",
            fix="for group in optimizer.param_groups: group['lr'] /= 10",
        )


RULE = Rule(
    code="UPD501",
    name="update-too-large",
    check=check,
    page=__doc__,
    levels=Levels(info=0.01, warning=0.03, error=0.1),
)

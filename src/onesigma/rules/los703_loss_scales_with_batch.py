"""The loss of a batch given twice over is twice the loss: a sum where a mean is meant.

## What it measures

The factor by which the loss grows if the batch is given twice over: 1 for a mean, 2 for a sum. Taken from a second
measurement where there is one, else from the chance level: a sum over n entries pays n times as much by chance as one
entry. Limit: warning beyond 1.5; beyond 2.1 it is no sum, but a loss that compares the samples of a batch with one
another. Source: TheDeepChecker's test of the loss reduction.

## Why it matters

With a sum the gradient, and with SGD the step, grows with the batch size: the last, smaller batch takes a smaller
step, and a learning rate found at one size does not hold at another.

## When it is fine

Likelihoods that are added up on purpose (variational bounds), with the learning rate chosen for it.

## What to do

Take the mean.

## Example

    nn.CrossEntropyLoss(reduction="mean")

## References

Nikanjam et al. 2021 (TheDeepChecker), https://arxiv.org/abs/2204.00694; Goyal et al. 2017,
https://arxiv.org/abs/1706.02677.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._chance import entries_summed
from onesigma.rules._finding import Finding, figure
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_SURELY_MANY = 1.9

_AT_MOST_A_SUM = 2.1
"""Twice a row adds twice its loss; a contrastive loss, in which twins are rivals, may grow by more."""


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the loss of the batch with that of the batch twice over."""
    loss, entries = trace.loss, entries_summed(trace.loss, trace.targets)
    if loss is None or loss.value == 0:
        return
    if loss.doubled is not None:
        factor, why = loss.doubled / loss.value, f"{figure(loss.doubled)} for it twice over"
        if factor > _AT_MOST_A_SUM:
            return
    else:
        factor, why = (2.0 if entries > _SURELY_MANY else 1.0), f"added up over {entries:.0f} entries"
    yield from RULE.found(
        "",
        factor,
        limits=limits,
        message=f"{loss.name} is {figure(loss.value)} for the batch, {why}: a sum.",
        expected="the same loss for a batch twice over",
        confidence=f"{trace.num_samples} samples",
        fix='loss = nn.CrossEntropyLoss(reduction="mean")',
    )


RULE = Rule(code="LOS703", name="loss-scales-with-batch", check=check, page=__doc__, levels=Levels(warning=1.5))

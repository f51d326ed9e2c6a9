"""The outputs no longer depend on the sample: whatever goes in, the same comes out.

## What it measures

At every head, the last linear before an output: the smallest of three numbers. What of its input depends on the
sample, √(mean over features of the variance over samples); the same relative to the input's rms; and the same of its
output. The last is left out where the head's own gain is below 0.15, so that heads that start at zero or small are not
blamed for it; an average over k positions right before the head counts √k times. Limits: info below 0.05, warning
below 0.01, error below 0.001. Needs two samples that differ. Source: computed for torch's default initialization,
where the outputs of 1, 2, 5 and 10 ReLU layers vary by 0.19, 0.067, 0.0036 and 0.000026.

## Why it matters

The loss cannot tell: all-zero weights, constant weights, inputs scaled twice, a softmax inside and a deep
default-initialized stack all start at *exactly* log C. And a per-tensor std of 1 cannot tell either: He's
initialization keeps it at 1 for 50 layers of ReLU, while the part that depends on the sample falls from 0.73 to 0.21.

## When it is fine

A last layer that is zero on purpose: its input still varies, and its own gradient is not zero.

## What to do

If the pre-activations shrink, draw the weights again. If they do not, the mean has taken over: normalize, or use the
`deep` scheme, which keeps the mean at zero at any depth.

## Example

    onesigma.initialize_(model, batches, scheme="deep")

## References

Poole et al. 2016, https://arxiv.org/abs/1606.05340; Martens et al. 2021, https://arxiv.org/abs/2110.01765.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, is_repeated
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._profile import averaging
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_SMALL_GAIN = 0.15


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge what of every head's input and output depends on the sample."""
    if is_repeated(trace):
        return
    flow = Flow(trace)
    for head in flow.heads():
        value = dependence(head)
        if value is None or head.input is None or head.output is None:
            continue
        value *= _averaging(flow, head)
        yield from RULE.found(
            head,
            value,
            limits=limits,
            message=(
                f"{head.name}: over samples its input varies by {figure(head.input.sample_std or 0.0)} of an rms of "
                f"{figure(head.input.rms)}, its output by {figure(head.output.sample_std or 0.0)}."
            ),
            expected="outputs that vary by 0.05 or more over samples",
            confidence=f"{head.output.num_samples} samples",
            fix='onesigma.initialize_(model, batches, scheme="deep")',
        )


def _averaging(flow: Flow, head: Record) -> float:
    """√k where the head reads an average over k positions, whose scatter is smaller by that much by chance alone."""
    sources = (flow.by_index.get(index) for index in flow.sources(head))
    return max((averaging(source) for source in sources if source is not None), default=1.0)


def dependence(head: Record) -> float | None:
    """How much the head's input and output depend on the sample; None where that was not measured."""
    if head.input is None or head.output is None or head.input.sample_std is None or head.output.sample_std is None:
        return None
    varying = head.input.sample_std
    values = [varying, varying / head.input.rms if head.input.rms else 0.0]
    is_small_on_purpose = varying > 0 and head.output.sample_std < _SMALL_GAIN * varying
    return min(values if is_small_on_purpose else [*values, head.output.sample_std])


RULE = Rule(
    code="ACT304",
    name="collapsed-samples",
    check=check,
    page=__doc__,
    levels=Levels(info=0.05, warning=0.01, error=0.001, below=True),
)

"""An S-shaped activation works where it is flat, so almost no gradient passes.

## What it measures

For tanh, sigmoid and their kin: the share of values whose local slope |f'(x)| is below 0.06 of the largest slope of f.
For tanh that is |f(x)| > 0.97, for sigmoid |x| > 4.2; no constant per function is needed. Limits: info beyond 5 %,
warning beyond 25 %, error beyond 50 %; also an error where more than half of the units are saturated on 99 % of their
observations. At most an info for gates, which a product reads, and for what a trained model returns. For a softmax
that weighs (attention, a router): by how much Σp² exceeds what logits of std 1 give, 1 for a choice of one; at most a
warning. For the tanh inside a recurrent layer: the same share, as the std of its pre-activations (INI201) makes it.
Sources: Karpathy's 0.97; SageMaker Debugger's half of the units (but its own limits, |x| > 9.5 for tanh, stay silent
at 68 % saturation). A tanh layer at the popular gain 5/3 has 21 %, so the warning stands above that.

## Why it matters

The gradient is multiplied by the local slope. A unit that is always saturated is a constant: it learns nothing and
tells nothing.

## When it is fine

Gates of LSTMs, GRUs and attention; outputs of a trained classifier; hard quantizers.

## What to do

Look at the pre-activation first: it is too large because of the input's scale (INP101) or the weights' (INI201).

## Example

    onesigma.initialize_(model, batches)          # pre-activations at std 1: 4 % of tanh saturated

## References

Karpathy 2022, makemore part 3; Glorot & Bengio 2010, section 3; Amazon SageMaker Debugger, rule SaturatedActivation.
"""

from collections.abc import Iterator

from onesigma.model.trace import Activity, Record, Trace
from onesigma.rules._choice import one_hotness
from onesigma.rules._finding import Finding
from onesigma.rules._flow import Flow, is_s_shaped
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._recurrent import WITH_TANH, recurrent_std, saturated_share
from onesigma.rules._rule import Rule
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the flat share of every S-shaped activation."""
    flow, trained = Flow(trace), looks_trained(trace)
    for record in trace.of_kind("softmax"):
        chosen = one_hotness(record) if record.kind == "attention" or flow.is_gate(record) else 0.0
        yield from RULE.found(
            record,
            chosen,
            limits=limits,
            at_most="info" if trained else "warning",
            message=f"{record.name}: its softmax chooses one, {100 * chosen:.0f} % of the way to one-hot.",
            expected="logits of a std near 1",
            confidence=f"{record.output.count if record.output else 0} weights",
            fix="scores = scores / math.sqrt(head_width)  # or a smaller init of what makes the logits",
        )
    for record in trace.of_kind(*WITH_TANH):
        share = saturated_share(recurrent_std(trace, record) or 0.0)
        yield from RULE.found(
            record,
            share,
            limits=limits,
            at_most="info" if trained else "error",
            message=f"{record.name}: {100 * share:.0f} % of the new states of its {record.op} are saturated.",
            expected="less than 5 % saturated",
            confidence="from the rms of its weights and signals",
            fix="onesigma.initialize_(model, batches)",
        )
    for record in trace.of_kind("activation"):
        activity = record.activity
        if activity is None or not is_s_shaped(record):
            continue
        yield from RULE.found(
            record,
            max(activity.saturated, activity.saturated_units),
            limits=limits,
            at_most="info" if flow.is_gate(record) or (trained and record in flow.returned) else "error",
            message=_message(record, activity),
            expected="less than 5 % saturated",
            confidence=f"{activity.num_units} units, {activity.num_observations} observations each",
            fix="onesigma.initialize_(model, batches)",
        )


def _message(record: Record, activity: Activity) -> str:
    units = f", and {100 * activity.saturated_units:.0f} % of the units always are" if activity.saturated_units else ""
    return f"{record.name}: {100 * activity.saturated:.0f} % of the {record.op} values are saturated{units}."


RULE = Rule(
    code="ACT301",
    name="saturated-activation",
    check=check,
    page=__doc__,
    levels=Levels(info=0.05, warning=0.25, error=0.5),
)

"""The last activation says the same for every sample, although what it reads differs.

## What it measures

At every output that is an activation: the std over samples of its result over that of its input. Limits: warning below
1e-3, error below 1e-6. Only where the input varies, over samples, by more than 1e-3 and by more than a thousandth of
its rms; a constant input is ACT304's. Also an error: a cross-entropy over one class, which is 0 whatever the logit.

## Why it matters

No gradient passes a constant. A softmax over one unit is always 1; a ReLU as the last layer is dead as soon as its
input is negative; a sigmoid is flat where its input is in the hundreds.

## When it is fine

Never, at the start of training.

## What to do

One unit: sigmoid, or no activation and a loss with logits. A regression: no activation at the end. Saturated: mend the
scale before it.

## Example

    nn.Sequential(nn.Linear(64, 1))                  # and nn.BCEWithLogitsLoss()

## References

Stack Overflow 31880720 (softmax on one unit), 44066044 (ReLU output with cross-entropy).
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare what comes out of the last activation with what goes in; look for a choice among one class."""
    if trace.loss is not None and trace.loss.chance_name == "log 1":
        head = next(iter(Flow(trace).returned), "")
        yield from RULE.found(
            head,
            0.0,
            limits=limits,
            message="The loss chooses among one class: it is 0 for every sample and has no gradient.",
            expected="a logit per class, two at least",
            confidence="by the graph",
            fix="model.head = nn.Linear(model.head.in_features, 2)  # or one logit and nn.BCEWithLogitsLoss()",
        )
    for record in _outputs(Flow(trace)):
        before, after = record.input, record.output
        if before is None or after is None or before.sample_std is None or after.sample_std is None:
            continue
        if before.sample_std <= 1e-3 * max(before.rms, 1.0):
            continue
        yield from RULE.found(
            record,
            after.sample_std / before.sample_std,
            limits=limits,
            message=_message(record, before.sample_std, after.mean),
            expected="an output that varies with its input",
            confidence=f"{after.num_samples} samples",
            fix="model[-1] = nn.Identity()  # and a loss that takes logits",
        )


def _outputs(flow: Flow) -> Iterator[Record]:
    """The activations whose results the model returns, reshaped or not."""
    for record in flow.returned:
        indices = flow.sources(record) if record.kind == "shape" else (record.index,)
        made = (flow.by_index.get(index) for index in indices)
        yield from (maker for maker in made if maker is not None and maker.kind == "activation")


def _message(record: Record, varies: float, mean: float) -> str:
    is_single = "softmax" in record.op and record.shape[-1:] == (1,)
    why = ", because a softmax over one unit is always 1" if is_single else ""
    return (
        f"{record.name}: its input varies by {figure(varies)} over samples, and its {record.op} is {figure(mean)} "
        f"for all of them{why}."
    )


RULE = Rule(
    code="LOS704",
    name="constant-output",
    check=check,
    page=__doc__,
    levels=Levels(warning=1e-3, error=1e-6, below=True),
)

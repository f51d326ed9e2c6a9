"""The loss starts below that of a model that knows nothing: it is trained already, or something leaks.

## What it measures

The excess over chance in nats, as in LOS701, over the entropy of the labels where that is less. Limits: info below
−0.1, warning below −0.3; never an error, because a trained model is the healthy case, and an info where batch norms
have counted its batches, where biases are neither zero nor what torch draws, or where rows are compared with rows
(contrastive losses, whose pairs are alike from the start). Models in eval mode are not judged. Also a warning: a loss
that is nothing but one of torch's losses times a negative number.

## Why it matters

An untrained network cannot beat chance. If it does, the target is among the inputs, the labels are one class, the loss
is a sum of terms with other signs, or it is fed with what it does not expect: NLLLoss on probabilities starts at −1/C.

## When it is fine

Fine-tuning, and a last bias that was set to the class frequencies.

## What to do

Check the loss's inputs, the labels' distribution, and that the targets are no function of one input column.

## Example

    torch.bincount(labels) / len(labels)

## References

CS231n notes, neural networks 3, "look for correct loss at chance performance".
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._chance import entropy_of_targets, excess
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._trained import has_moved

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the loss with chance, from below."""
    value, loss = excess(trace.loss), trace.loss
    if loss is not None and loss.chance is not None and loss.chance < 0:
        yield from RULE.found(
            "",
            loss.value - abs(loss.value),
            limits=limits,
            message=f"The loss is {figure(loss.value)}: a likelihood enters it with a minus sign, training worsens it.",
            expected="a loss that is lower for a better model",
            confidence="by the graph",
            fix="loss = nn.CrossEntropyLoss()  # it is a negative logarithm already",
        )
    if trace.loss is None or trace.loss.chance is None or value is None or not trace.training:
        return
    entropy = entropy_of_targets(trace)
    if entropy > 0:
        value = max(value, trace.loss.value - entropy)
    yield from RULE.found(
        "",
        value,
        limits=limits,
        at_most="info" if _is_known_trained(trace) or _compares_rows(trace) else "error",
        message=(
            f"The loss is {figure(trace.loss.value)}, where knowing nothing costs {figure(trace.loss.chance)}: "
            f"the model is trained, or the target leaks."
        ),
        expected=f"a {trace.loss.name} near {figure(trace.loss.chance)} at the start",
        confidence=f"{trace.num_samples} samples",
        fix="torch.bincount(labels) / len(labels)  # and look for the target among the inputs",
    )


def _is_known_trained(trace: Trace) -> bool:
    """Its batch norms have averaged more than a look at the model, or most of its biases have left their start."""
    moved = [has_moved(trace, linear) for linear in trace.of_kind("linear") if "bias" in linear.parameters]
    return any(int(norm.attributes.get("updates", 0)) > 2 for norm in trace.of_kind("batch_norm")) or (
        2 * sum(moved) > len(moved)
    )


def _compares_rows(trace: Trace) -> bool:
    """The logits are a square: products of rows with rows, which no weight makes."""
    flow = Flow(trace)
    for loss in trace.of_kind("cross_entropy"):
        before = (flow.by_index.get(index) for index in flow.sources(loss, through=("shape", "scale", "dropout")))
        if any(
            made is not None and made.op in ("matmul", "mm", "bmm", "einsum") and made.shape[-2:-1] == made.shape[-1:]
            for made in before
        ):
            return True
    return False


RULE = Rule(
    code="LOS702",
    name="initial-loss-below-chance",
    check=check,
    page=__doc__,
    levels=Levels(info=-0.1, warning=-0.3, below=True),
)

"""Probabilities fed to a loss that takes logits.

## What it measures

Whether a softmax (or sigmoid) is the model's output while the loss is one that applies its own: cross_entropy, or
binary_cross_entropy_with_logits; also, whether nll_loss or kl_div gets probabilities and not their logarithms. The
value is the lowest loss that a perfect model can reach, in nats: log(1 + (C − 1)/e) for a double softmax over C
classes, log(1 + 1/e) for a double sigmoid. Also any of them that reads the probabilities of another one, right before
the loss. Limits: warning beyond 0, error beyond 0.5, which is from three classes on. A log-softmax before
cross_entropy changes nothing and is not reported.

## Why it matters

The second softmax sees numbers between 0 and 1, so its output can hardly leave 1/C: with 10 classes the loss cannot
fall below 1.46, and the gradient is smaller by a factor of C at the start.

## When it is fine

Never.

## What to do

Return logits from the model, and take the softmax only when you want probabilities.

## Example

    model[-1] = nn.Identity()            # then nn.CrossEntropyLoss()

## References

Nikanjam et al. 2021 (TheDeepChecker, "redundant softmax"), https://arxiv.org/abs/2204.00694;
torch.nn.CrossEntropyLoss, "input: logits".
"""

import math
from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_TAKES = {
    "cross_entropy": ("softmax",),
    "nll_loss": ("softmax",),
    "kl_div": ("softmax",),
    "binary_cross_entropy_with_logits": ("sigmoid", "softmax"),
}
"""Per loss, the activations that it must not be fed with."""

_PROBABILITIES = ("softmax", "sigmoid")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Look at what the loss is fed with."""
    flow = Flow(trace)
    for record, loss in _fed(flow):
        first = _squashed_before(flow, record)
        if record.op not in _TAKES.get(loss, ()) and first is None:
            continue
        floor = _floor(record)
        fed = f"{loss} gets a {record.op}" if first is None else f"the {record.op} reads the {first.op} {first.name}"
        yield from RULE.found(
            record,
            floor,
            limits=limits,
            message=f"{record.name}: {fed}: {_consequence(loss if first is None else '', floor)}.",
            expected="logits",
            confidence="by the graph",
            fix="model[-1] = nn.Identity()  # return logits",
        )


def _squashed_before(flow: Flow, record: Record) -> Record | None:
    """The softmax or sigmoid whose probabilities this one takes for logits."""
    if record.op not in (*_PROBABILITIES, "log_softmax", "logsigmoid"):
        return None
    before = (flow.by_index.get(index) for index in flow.sources(record))
    return next((source for source in before if source is not None and source.op in _PROBABILITIES), None)


def _consequence(loss: str, floor: float) -> str:
    can = f"no model can bring it below {figure(floor)}"
    return "it takes logarithms of probabilities" if loss in ("nll_loss", "kl_div") else can


def _fed(flow: Flow) -> Iterator[tuple[Record, str]]:
    """Each activation that a loss reads, inside the model or behind it, with the loss's name."""
    for loss in flow.trace.of_kind("loss"):
        yield from ((flow.by_index[i], loss.op) for i in list(flow.sources(loss))[:1] if i in flow.by_index)
    if flow.trace.loss is not None and not any(flow.trace.of_kind("loss")):
        yield from ((record, _canonical(flow.trace.loss.name.lower())) for record in flow.returned)


def _canonical(name: str) -> str:
    """ "CrossEntropyLoss" → "cross_entropy"."""
    key = name.replace("_", "").removesuffix("loss")
    known = {loss.replace("_", "").removesuffix("loss"): loss for loss in _TAKES}
    return "binary_cross_entropy_with_logits" if key == "bcewithlogits" else known.get(key, name)


def _floor(record: Record) -> float:
    classes = record.shape[-1] if record.shape and record.op == "softmax" else 2
    return math.log1p((classes - 1) / math.e)


RULE = Rule(code="LOS705", name="double-softmax", check=check, page=__doc__, levels=Levels(warning=0.0, error=0.5))

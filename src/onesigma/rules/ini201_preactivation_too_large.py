"""A layer hands its nonlinearity a signal too large for it.

## What it measures

The std, about its mean, of every pre-activation: the result of a linear or convolution that a nonlinearity reads. Not
heads, not writers of a residual stream, not layers before a norm. For recurrent layers it is computed from the rms of
their weights and signals. Logits of a softmax that weighs (attention, a router) count too, as a warning at most;
inside a fused attention their std is that of the queries times that of the keys. Limits: info beyond 2, warning beyond
3, error beyond 10, each widened by the factor 1 + 3σ with σ² = 1/(2·units) + 1/(2·samples), because a layer of 4 units
misses its std by 50 % at a perfect initialization. At most a warning where the loss shows a trained model, at most an
info where a product reads the nonlinearity (a gate). Sources: TheDeepChecker's 0.5 to 2 (info); the share of saturated
tanh is 49 % at std 3 (warning).

## Why it matters

tanh and sigmoid are flat where the pre-activation is large, so no gradient passes; ReLU hands the scale on, layer
after layer, until the loss starts in the hundreds. E[y²] = fan_in · Var(w) · E[x²] says which factor is to blame: the
message gives the layer's own gain, std(y)/rms(x), so that a layer that only passes on a large input is told from one
whose weights are too large.

## When it is fine

Trained networks, gates that are meant to open and shut, energy models.

## What to do

If the layer's own gain is near 1, mend what comes before it. Else draw the weights again by the right fan and gain.

## Example

    onesigma.initialize_(model, batches)          # every pre-activation at std 1, in one forward pass

## References

Glorot & Bengio 2010; He et al. 2015, https://arxiv.org/abs/1502.01852; Mishkin & Matas 2016 (LSUV),
https://arxiv.org/abs/1511.06422.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._choice import logits
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, sampling, width_slack
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._recurrent import recurrent_std
from onesigma.rules._rule import Rule
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the std of every pre-activation."""
    flow, trained = Flow(trace), looks_trained(trace)
    for record in trace.of_kind("recurrent"):
        std = recurrent_std(trace, record)
        yield from RULE.found(
            record,
            std or 0.0,
            limits=limits,
            at_most="warning" if trained else "error",
            message=f"{record.name} hands the gates of its {record.op} a std of {figure(std or 0.0)}.",
            expected="a pre-activation std of 0.5 to 2",
            confidence="from the rms of its weights and signals",
            fix="onesigma.initialize_(model, batches)",
        )
    for maker, std in logits(flow):
        yield from RULE.found(
            maker,
            std,
            limits=limits,
            at_most="info" if trained else "warning",
            message=f"{maker.name} hands a softmax that weighs logits of std {figure(std)}: it chooses one.",
            expected="logits of a std near 1",
            confidence="of queries and keys" if maker.kind == "attention" else sampling(maker),
            fix="onesigma.initialize_(model, batches)",
        )
    for linear, activation in flow.preactivations():
        assert linear.output is not None
        yield from RULE.found(
            linear,
            linear.output.std,
            limits=limits,
            slack=width_slack(linear),
            at_most="info" if flow.is_gate(activation) else "warning" if trained else "error",
            message=_message(linear, activation),
            expected="a pre-activation std of 0.5 to 2",
            confidence=sampling(linear),
            fix="onesigma.initialize_(model, batches)",
        )


def _message(linear: Record, activation: Record) -> str:
    assert linear.output is not None
    text = f"{linear.name} hands {activation.op} a std of {figure(linear.output.std)}"
    if linear.input is None or linear.input.rms == 0:
        return f"{text}."
    gain = linear.output.std / linear.input.rms
    return f"{text}: it reads an rms of {figure(linear.input.rms)} and multiplies it by {figure(gain)}."


RULE = Rule(
    code="INI201",
    name="preactivation-too-large",
    check=check,
    page=__doc__,
    levels=Levels(info=2.0, warning=3.0, error=10.0),
)

"""A layer hands its nonlinearity a signal too small to matter.

## What it measures

The std over samples of every pre-activation: what of it depends on the sample (over all values, where there was one
sample); of a norm that feeds a nonlinearity only if it is beyond the limit of errors. Limits: info below 0.3, warning
below 0.05, error below 0.001, each divided by 1 + 3σ with σ² = 1/(2·units) + 1/(2·samples). At most a warning where
the loss shows a trained model, at most an info for gates and what computes them. A layer whose input does not depend
on the sample is not judged: the cause is before it, or it reads positions. Sources: TheDeepChecker's 0.5 is widened,
because torch's own default for `nn.Linear` halves the signal at every layer: two or three of them (0.58, 0.24, 0.10)
train well, five or more (0.016) do not.

## Why it matters

A signal that shrinks by a factor per layer is lost against the biases and against rounding; what comes back shrinks by
the same factor, so the first layers learn nothing. The network starts as a constant, with the loss at exactly log C,
which looks healthy.

## When it is fine

Last layers of residual branches, heads and gates that start at zero: they do not feed a nonlinearity directly and are
not judged; an info where they do, learn, and something leads past them, as in couplings of normalizing flows.
Regularized small starts (weights of 0.01) of shallow networks come as an info.

## What to do

Draw the weights by the fan and gain of their place. If the input itself is small (scaled twice), mend the input.

## Example

    onesigma.initialize_(model, batches)          # every pre-activation at std 1, in one forward pass

## References

He et al. 2015, section 2.2, https://arxiv.org/abs/1502.01852; Schoenholz et al. 2017,
https://arxiv.org/abs/1611.01232.
"""

from collections.abc import Iterator

from onesigma.model.trace import Record, Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow, is_repeated, reads_a_constant, sampling, spread, width_slack
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule
from onesigma.rules._small import maker_of_small, silent_norms
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge what of every pre-activation depends on the sample."""
    flow, trained = Flow(trace), looks_trained(trace)
    for linear, activation in (*flow.preactivations(), *silent_norms(flow, beyond=RULE.levels.limit("error"))):
        assert linear.output is not None
        maker = maker_of_small(flow, linear)
        if reads_a_constant(maker) and not is_repeated(trace):
            continue
        std = linear.output.std if is_repeated(trace) else spread(linear.output)
        yield from RULE.found(
            maker,
            std,
            limits=limits,
            slack=width_slack(linear),
            at_most="info"
            if flow.leads_to_gate(activation) or _is_bypassed(flow, linear)
            else "warning"
            if trained
            else "error",
            message=_message(linear, activation),
            expected="a pre-activation std of 0.5 to 2",
            confidence=sampling(linear),
            fix="onesigma.initialize_(model, batches)",
        )


def _is_bypassed(flow: Flow, linear: Record) -> bool:
    """Its weight starts at zero and learns, and the outputs depend on the sample all the same: another way leads on."""
    weight = flow.trace.parameter(linear.parameters.get("weight", ""))
    if weight is None or weight.value.rms or weight.gradient is None or not weight.gradient.rms:
        return False
    return any((record.output.sample_std or 0) > 0 for record in flow.returned if record.output is not None)


def _message(linear: Record, activation: Record) -> str:
    assert linear.output is not None
    text = f"{linear.name} hands {activation.op} a std over samples of {figure(spread(linear.output))}"
    if linear.input is None or spread(linear.input) == 0:
        return f"{text}."
    return f"{text}, from one of {figure(spread(linear.input))} in its input."


RULE = Rule(
    code="INI202",
    name="preactivation-too-small",
    check=check,
    page=__doc__,
    levels=Levels(info=0.3, warning=0.05, error=0.001, below=True),
)

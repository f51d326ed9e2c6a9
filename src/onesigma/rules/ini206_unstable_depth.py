"""A fixed gain cannot hold this depth: the activation makes every small error grow.

## What it measures

For plain chains of GELU, SiLU or Mish without norms and residual joins: stability^depth, where stability = dQ/dq at q
= 1 of the variance map Q(q) = gain²·E[f(√q·z)²]. A layer that is off by 1 % puts the next one off by stability × 1 %.
Limits: info beyond 10, warning beyond 100; never an error, because it is a forecast, not a measurement. Source: the
map's own slope, 1.173 for SiLU, 1.144 for GELU, 1.076 for Mish; ReLU and its kin have 1, tanh and SELU less.

## Why it matters

A signal a little too small gets a smaller share through, and so on: with SiLU 1 % becomes a factor of 1e5 in 50
layers, in either direction. A data pass at initialization sets it right for the first step only.

## When it is fine

Networks with norms or residual connections, which do not multiply the layers' errors.

## What to do

The `deep` scheme, norms, residual connections, or an activation with a stability of at most 1.

## Example

    onesigma.initialize_(model, batches, scheme="deep")

## References

Schoenholz et al. 2017, https://arxiv.org/abs/1611.01232; Hayou et al. 2019, https://arxiv.org/abs/1902.06853.
"""

from collections import Counter
from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.numbers.activation_moments import activation_moments
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._rule import Rule

__all__ = ["RULE"]

_UNSTABLE = ("gelu", "silu", "mish", "hardswish")


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Forecast how a small error grows through a plain chain."""
    if any(trace.of_kind("norm", "join", "product", "attention")):
        return
    activations = [activation for _, activation in Flow(trace).preactivations()]
    counts = Counter(activation.op for activation in activations if activation.op in _UNSTABLE)
    if not counts:
        return
    op, depth = counts.most_common(1)[0]
    stability = activation_moments(op).stability
    yield from RULE.found(
        next(activation for activation in activations if activation.op == op),
        stability**depth,
        limits=limits,
        message=(
            f"{depth} layers of {op} in a row: an error of 1 % grows by a factor {figure(stability)} per layer, "
            f"{figure(stability**depth)} in all."
        ),
        expected="norms or residual connections at this depth",
        confidence="a forecast from the activation's variance map",
        fix='onesigma.initialize_(model, batches, scheme="deep")',
    )


RULE = Rule(code="INI206", name="unstable-depth", check=check, page=__doc__, levels=Levels(info=10.0, warning=100.0))

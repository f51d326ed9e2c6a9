"""The gradient grows on its way back, so one step throws the first layers off.

## What it measures

The norm of ∂loss/∂signal at the first hidden place of the trunk over that at the last one. The trunk is what every
path from the input to the output goes through: the layers of a plain chain, the stream of a residual network, never
the inside of a branch. Averages over positions are made good for. Limits: info beyond 5, warning beyond 10, error
beyond 70; one step milder where norms lie between, because the layers before them do not depend on the scale of their
weights. At most an info where the loss shows a trained model, and up to √(π/(π − 1)) = 1.21 per layer where batch norms
lie between, which is their own growth under ReLU (Yang et al.). Needs a loss. Source: AutoTrainer's ratio of 70.

## Why it matters

No single learning rate suits both ends: what moves the last layer throws the first one off. The factor per layer is
√(fan_out · Var(w) · E[f'²]). It exceeds 1 also at the right gain for activations of finite width: 1.085 per layer for
tanh at unit variance.

## When it is fine

Deep stacks of batch norms with a warm-up: their gradient grows by 1.2 per layer at the start, and their steps adapt.

## What to do

Draw the weights for their place; the `deep` scheme keeps the growth of any depth below a bound. Clip gradients until
then.

## Example

    onesigma.initialize_(model, batches, scheme="deep")

## References

Pascanu et al. 2013, https://arxiv.org/abs/1211.5063; Yang et al. 2019, https://arxiv.org/abs/1902.08129 (batch norm);
Zhang et al. 2021 (AutoTrainer), https://github.com/shiningrain/AUTOTRAINER.
"""

from collections.abc import Iterator
from math import pi, sqrt

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._profile import gradient_profile
from onesigma.rules._rule import Rule
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]

_OF_NORMS = sqrt(pi / (pi - 1))


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the two ends of the trunk."""
    profile = gradient_profile(Flow(trace))
    if profile is None:
        return
    per_layer = profile.ratio ** (1 / profile.depth)
    yield from RULE.found(
        profile.first,
        profile.ratio,
        limits=limits,
        at_most="info" if looks_trained(trace) or (profile.is_batch_normalized and per_layer <= _OF_NORMS) else "error",
        milder=profile.is_normalized,
        message=(
            f"The gradient at {profile.first.name} is {figure(profile.ratio)} times that at {profile.last.name}: "
            f"a factor {figure(per_layer)} per layer, over {profile.depth} layers."
        ),
        expected="gradient norms within a factor 10 along the trunk",
        confidence=f"{trace.num_samples} samples",
        fix='onesigma.initialize_(model, batches, scheme="deep")',
    )


RULE = Rule(
    code="GRA402",
    name="exploding-gradient",
    check=check,
    page=__doc__,
    levels=Levels(info=5.0, warning=10.0, error=70.0),
)

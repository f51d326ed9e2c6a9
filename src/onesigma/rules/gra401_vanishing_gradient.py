"""The gradient shrinks on its way back, so the first layers learn nothing.

## What it measures

The norm of ∂loss/∂signal at the first hidden place of the trunk over that at the last one. The trunk is what every
path from the input to the output goes through: the layers of a plain chain, the stream of a residual network, never
the inside of a branch. Averages over positions are made good for. Limits: info below 0.3, warning below 0.1, error
below 0.001. An error too where no gradient arrives at all, unless a weight that is zero on purpose (and learns) holds
it back: then the first layers lie behind a detach, a rounding or a `.data`. At most an info where the loss shows a
trained model. Needs a loss. Source: AutoTrainer's ratio of 0.001.

## Why it matters

With SGD the first layers stand still; with Adam their direction is made of rounding errors. A ratio r over d layers is
a factor r^(1/d) per layer, which the message gives: it is √(fan_out · Var(w) · E[f'²]).

## When it is fine

Zero-initialized heads, gates, residual branches and adapters: they start to learn first and let the others follow.

## What to do

Draw the weights for their place. Beyond some ten layers without norms, use the `deep` scheme or insert norms.

## Example

    onesigma.initialize_(model, batches, scheme="deep")
    onesigma.norm.insert_(model, batches)

## References

Hochreiter 1991; Glorot & Bengio 2010; Zhang et al. 2021 (AutoTrainer), https://github.com/shiningrain/AUTOTRAINER.
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding, figure
from onesigma.rules._flow import Flow
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._profile import gradient_profile
from onesigma.rules._rule import Rule
from onesigma.rules._severed import severed
from onesigma.rules._trained import looks_trained

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Compare the two ends of the trunk; where they have none, look for first layers that are cut off."""
    flow = Flow(trace)
    profile = gradient_profile(flow)
    last = severed(trace, flow) if profile is None or profile.ratio > 0 else None
    if last is not None:
        yield from RULE.found(
            last,
            0.0,
            limits=limits,
            message=f"{last.name} and all before it get no gradient at all, though the loss depends on their result.",
            expected="a gradient for every weight that learns",
            confidence=f"{trace.num_samples} samples",
            fix=f"model.get_submodule({last.layer!r}).requires_grad_(False)  # if meant; else let gradients pass",
        )
    if profile is None or last is not None:
        return
    per_layer = profile.ratio ** (1 / profile.depth)
    yield from RULE.found(
        profile.first,
        profile.ratio,
        limits=limits,
        at_most="info" if looks_trained(trace) else "error",
        message=(
            f"The gradient at {profile.first.name} is {figure(profile.ratio)} of that at {profile.last.name}: "
            f"a factor {figure(per_layer)} per layer, over {profile.depth} layers."
        ),
        expected="gradient norms within a factor 10 along the trunk",
        confidence=f"{trace.num_samples} samples",
        fix='onesigma.initialize_(model, batches, scheme="deep")',
    )


RULE = Rule(
    code="GRA401",
    name="vanishing-gradient",
    check=check,
    page=__doc__,
    levels=Levels(info=0.3, warning=0.1, error=0.001, below=True),
)

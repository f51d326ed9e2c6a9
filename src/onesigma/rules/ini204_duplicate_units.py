"""Units with equal weights and equal gradients stay equal for ever: many units, one feature.

## What it measures

For every weight of two or more dimensions: the share of its rows (units) whose weights equal those of another row and
whose gradients do too. Limits: warning for any, error beyond 50 %. Weights that are all zero do not count, nor those
without a gradient: zero-initialized heads, gates and adapters get a gradient of their own per unit. Source:
NeuraLint's and TheDeepChecker's symmetry rules, with the gradient added.

## Why it matters

Nothing in training tells such units apart: a layer of 100 equal units is a layer of one, at the price of 100. The loss
starts at log C and even falls a little, which is why constant initialization goes unnoticed.

## When it is fine

Convolutions that start as one fixed filter per channel (upsampling, wavelets) and are frozen.

## What to do

Draw the weights at random; biases may all be zero.

## Example

    onesigma.initialize_(model, batches)

## References

Goodfellow et al. 2016, section 8.4 (breaking symmetry); DeepCrime's operators "weights to ones" and "to a constant".
"""

from collections.abc import Iterator

from onesigma.model.trace import Trace
from onesigma.rules._finding import Finding
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._place import maker_of
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the share of units that others repeat."""
    for parameter in trace.parameters:
        if (
            len(parameter.shape) < 2
            or parameter.value.rms == 0
            or parameter.gradient is None
            or not parameter.trainable
        ):
            continue
        yield from RULE.found(
            maker_of(trace, parameter.name),
            parameter.duplicate_rows,
            limits=limits,
            message=(
                f"{parameter.name}: {100 * parameter.duplicate_rows:.0f} % of its {parameter.shape[0]} units have the "
                f"weights and the gradient of another one."
            ),
            expected="units that differ",
            confidence="exact comparison of weights and gradients",
            fix="onesigma.initialize_(model, batches)",
        )


RULE = Rule(code="INI204", name="duplicate-units", check=check, page=__doc__, levels=Levels(warning=0.0, error=0.5))

"""Units with equal weights and equal gradients stay equal for ever: many units, one feature.

## What it measures

For every weight of two or more dimensions, but for those of one number per unit that scale what others give (gains,
temperatures, LayerScale): the share of its rows (units) whose weights equal those of another row and
whose gradients do too. Limits: warning for any, error beyond 50 %. Weights that are all zero do not count, nor those
without a gradient: zero-initialized heads, gates and adapters get a gradient of their own per unit. Source:
NeuraLint's and TheDeepChecker's symmetry rules, with the gradient added. More than half of the rows equal in weights
and told apart by gradients alone (the next layer is random) are a warning: they start as one unit. In stored weights,
which have no gradient, equal rows, rows that are one number throughout, and matrices of nothing but zeros are a
warning, or an error where a limit of your own says from where on.

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

import math
from collections.abc import Iterator

from onesigma.model.trace import ParameterRecord, Trace
from onesigma.rules._finding import Finding, Severity
from onesigma.rules._limits import Levels, Limits
from onesigma.rules._place import maker_of
from onesigma.rules._rule import Rule

__all__ = ["RULE"]


def check(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Judge the share of units that others repeat."""
    for parameter in trace.parameters:
        is_stored = not trace.records
        if len(parameter.shape) < 2 or (not is_stored and (parameter.gradient is None or not parameter.trainable)):
            continue
        if math.prod(parameter.shape[1:]) == 1 and not _weighs(trace, parameter):
            continue
        share, said, at_most = _stored(parameter) if is_stored else _measured(parameter)
        layer = parameter.name.rpartition(".")[0]
        yield from RULE.found(
            maker_of(trace, parameter.name),
            share,
            limits=limits,
            message=f"{parameter.name}: {100 * share:.3g} % of its {parameter.shape[0]} units {said}.",
            expected="units that differ",
            confidence=f"exact comparison of weights{'' if is_stored else ' and gradients'}",
            fix="onesigma.initialize_(model, batches)",
            at_most="error" if is_stored and limits.names_error(RULE.code, layer=layer) else at_most,
        )


def _weighs(trace: Trace, parameter: ParameterRecord) -> bool:
    """A layer's weights for its one input; in a file of weights, those of a shape that no scale has."""
    if not trace.records:
        return len(parameter.shape) == 2
    return any(record.parameters.get("weight") == parameter.name for record in trace.of_kind("linear"))


def _measured(parameter: ParameterRecord) -> tuple[float, str, Severity]:
    """The share that counts, what is the matter with it, and how grave that may be."""
    if not parameter.value.rms:
        return 0.0, "", "info"
    if parameter.duplicate_rows or parameter.equal_rows <= _MOST:
        return parameter.duplicate_rows, "have the weights and the gradient of another one", "error"
    return parameter.equal_rows, "have the weights of another one, told apart by their gradients alone", "warning"


def _stored(parameter: ParameterRecord) -> tuple[float, str, Severity]:
    """Some rows of zeros are pruning; nothing but zeros is not."""
    if parameter.zero_rows == 1:
        return 1.0, "are zero", "warning"
    if parameter.constant_rows:
        alike = ", and some are alike" if parameter.equal_rows else ""
        return parameter.constant_rows, f"are one number throughout{alike}", "warning"
    return parameter.equal_rows, "have the weights of another one", "warning"


_MOST = 0.5
_LEVELS = Levels(warning=0.0, error=0.5)
RULE = Rule(code="INI204", name="duplicate-units", check=check, page=__doc__, levels=_LEVELS)

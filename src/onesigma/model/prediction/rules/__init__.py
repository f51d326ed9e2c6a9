"""One rule per operation: what is predicted of its arguments in, what is predicted of its result out."""

from collections.abc import Mapping

from onesigma.model.prediction.rules.attention import ATTENTION
from onesigma.model.prediction.rules.linear import LINEAR
from onesigma.model.prediction.rules.norms import NORMS
from onesigma.model.prediction.rules.pointwise import POINTWISE, activation
from onesigma.model.prediction.rules.pools import POOLS
from onesigma.model.prediction.rules.recurrent import RECURRENT
from onesigma.model.prediction.rules.reductions import REDUCTIONS
from onesigma.model.prediction.rules.resampling import RESAMPLING
from onesigma.model.prediction.rules.shapes import SHAPES
from onesigma.model.prediction.step import Rule, Step

__all__ = ["rule_of"]

_RULES: Mapping[str, Rule] = {
    **LINEAR,
    **NORMS,
    **POINTWISE,
    **POOLS,
    **SHAPES,
    **ATTENTION,
    **RECURRENT,
    **REDUCTIONS,
    **RESAMPLING,
}


def rule_of(step: Step) -> Rule | None:
    """The rule of a call; None where there is none."""
    if step.call.kind == "activation" and step.call.function is not None:
        return activation
    name = step.call.attributes.get("function") if step.call.op == "unknown" else step.call.op
    return _RULES.get(str(name))

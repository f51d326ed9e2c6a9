"""The order of attempts: what is the norm, can what comes before take it in, can what comes after."""

from onesigma.norm.fold.affine import Affine, affine_of, reason_against_norm
from onesigma.norm.fold.after import into_what_comes_after
from onesigma.norm.fold.before import into_what_comes_before
from onesigma.norm.fold.layers import Layers
from onesigma.norm.fold.plan import Plan, Refusal, refuse_if

__all__ = ["plan_of"]


def plan_of(norm: str, layers: Layers) -> Plan:
    """Into what the norm called so is folded, as the model is now, or why it stays."""
    try:
        affine = _affine(norm, layers)
    except Refusal as refusal:
        return Plan(layer=norm, reason=str(refusal))
    reasons = []
    for attempt in (into_what_comes_before, into_what_comes_after):
        try:
            plan = attempt(norm, layers, affine=affine)
            for layer in plan.into:
                reason = layers.reason_against_pair(norm, layer)
                refuse_if(bool(reason), reason)
            return plan
        except Refusal as refusal:
            reasons.append(str(refusal))
    return Plan(layer=norm, reason="; ".join(dict.fromkeys(reasons)))


def _affine(norm: str, layers: Layers) -> Affine:
    module, uses = layers.by_name[norm], layers.flow.uses.get(norm, ())
    reason = reason_against_norm(module, opened=norm in layers.flow.opened)
    refuse_if(bool(reason), reason)
    refuse_if(not uses, "it did not run")
    refuse_if(any(use.batch_statistics for use in uses), "it normalizes by the batch in eval too")
    refuse_if(not all(map(layers.flow.is_plain, uses)), "it does more than turn one input of floats into one output")
    shapes = [layers.flow.shape(use.result) for use in uses]
    refuse_if(any(len(shape) < 2 for shape in shapes), "its input has no axis of samples")
    affine = affine_of(module, shapes[0])
    if affine is None:
        what = (
            "its statistics are not finite"
            if hasattr(module, "running_var")
            else "it clips, mixes its inputs or counts what it sees"
        )
        raise Refusal(f"{what}: it is no affine map per channel")
    return affine

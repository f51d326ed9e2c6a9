"""`fold_`: take every BatchNorm into the layers before or after it, each proven by running, or say why not."""

import warnings

import torch
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma._typing import Batches
from onesigma.model.batches import iterate_batches
from onesigma.model.edits import Edits
from onesigma.model.names import unwrapped
from onesigma.model.state import random_state_preserved
from onesigma.norm.fold.plan import Plan
from onesigma.norm.fold.workshop import Workshop

__all__ = ["fold_", "plan_folds"]

# A fold is exact or not on any batch; more of them only guard against models that branch on their data.
_MAX_BATCHES = 4


def fold_(model: nn.Module, batches: Batches, *, subclasses: bool = False) -> Edits:
    """Fold every BatchNorm, and input statistics held as a layer, into the layers before or after it, in place.

    In eval mode a BatchNorm is y = s·x + t per channel, with s = γ/√(running_var + eps) and t = β − running_mean·s.
    What it does is taken in by the linear layers or convolutions whose outputs it alone reads,

        W ← s·W,   b ← s·b + t,

    or else by those that alone read its output, W ← W·s, b ← b + W·t; before a convolution that pads with zeros the
    norm's place is taken by a padding with −t/s. Between the two may lie whatever commutes with the map: reshapes,
    transposes, dropout, average pools, max pools where no s is negative. An `nn.Identity` stands where the norm was;
    no other key of the state dict changes, but for a bias where there was none. All is computed in float64 and rounded
    once. The result is for eval mode: training goes on without the norms.

    A fold is kept if it is proven. On a float64 copy the output, and what the forward leaves on its modules, moves by
    at most 1e-10 of its largest value: on the batches, and on the first one with its sign turned and in other shapes (a
    single row, another size, another length), as far as the model takes them. And in the model's own dtype its distance
    from the float64 result is at most twice what it was. Every other norm stays and has its reason: hooks, tied or
    shared weights, parametrizations, subclasses, missing statistics, a nonlinearity on either side, an output that is
    read elsewhere, …

    Args:
        model: Any module that can be run and copied, in any mode; it is looked at in eval mode.
        batches: One batch, or an iterable of which up to four are used for the proof.
        subclasses: Fold layers and norms of other classes, too, that in the recorded run did what their base class
            does: one convolution with their own weight; one normalization, and then their own children, as timm's
            `BatchNormAct2d` does, which become an `nn.Sequential`. What else such a class might do at another time,
            no run can show: so you are asked.

    Returns:
        One edit per norm, in order of execution. `error` is the relative change of the output in float64; `reason`
        of an applied one tells the error in the model's own dtype, of a refused one why it stays.

    Raises:
        CaptureError: The model raised.
        ModelError: The model cannot be copied.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> edits = fold_(model, torch.randn(2, 3, 8, 8))
        >>> edits[0].action, edits[0].error <= 1e-10, model[1]
        ('fold into 0', True, Identity())

    Reference: Jacob et al. 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """
    with random_state_preserved(), torch.no_grad():
        workshop = _workshop(model, batches, subclasses=subclasses)
        try:
            workshop.fold()
        except BaseException:
            workshop.undo()
            raise
    edits = workshop.edits
    if not edits.applied:
        why = "; ".join(f"{edit.layer}: {edit.reason}" for edit in edits.refused[:3]) or "the model has no norm."
        warnings.warn(f"fold_ folded no norm: {why}", NoEffectWarning, stacklevel=2)
    return edits


def plan_folds(model: nn.Module, batches: Batches, *, subclasses: bool = False) -> tuple[Plan, ...]:
    """What `fold_` would try: per norm, into which layers it goes, or why it stays; the model is not changed.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 2))
        >>> [(plan.layer, plan.side, plan.into) for plan in plan_folds(model, torch.randn(16, 4))]
        [('2', 'after', ('3',))]
    """
    with random_state_preserved(), torch.no_grad():
        return _workshop(model, batches, subclasses=subclasses).plan()


def _workshop(model: nn.Module, batches: Batches, *, subclasses: bool) -> Workshop:
    module = unwrapped(model)
    owned = [batch.owned_by(module) for batch in iterate_batches(batches, limit=_MAX_BATCHES)]
    return Workshop(module, owned, subclasses=subclasses)

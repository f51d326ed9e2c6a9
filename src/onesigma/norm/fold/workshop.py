"""Where a fold is made: first on a float64 twin, then, if its output holds, on the model itself."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from onesigma._errors import CaptureError
from onesigma.model.batches import Batch
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import module_names
from onesigma.model.state import preserved
from onesigma.norm.fold.affine import affine_of, is_norm, is_subclass, keeps_statistics
from onesigma.norm.fold.certificate import EXACT, Proof, float64_twin, in_eval
from onesigma.norm.fold.flow import flow_of, in_float64
from onesigma.norm.fold.layers import Layers
from onesigma.norm.fold.plan import Plan, Target, at_channels
from onesigma.norm.fold.planner import plan_of
from onesigma.norm.fold.rewrite import (
    PadPerChannel,
    Undo,
    assign,
    drop_padding,
    mirror,
    replace,
    stand_in_for,
    undo_all,
)
from onesigma.norm.fold.variants import doubled
from onesigma.norm.fold.weights import absorbed_after, absorbed_before

__all__ = ["Workshop"]


class Workshop:
    """A model, its float64 twin, and what was done to both."""

    def __init__(self, model: nn.Module, batches: Sequence[Batch], *, subclasses: bool = False) -> None:
        self.model, self.batches, self.subclasses = model, batches, subclasses
        self.parts = {name: module for module, name in module_names(model).items()}
        self.norms = [name for name, module in self.parts.items() if is_norm(module)]
        self.undo_steps: list[Undo] = []
        self._edits: dict[str, Edit] = {}

    @property
    def edits(self) -> Edits:
        """One per norm."""
        return Edits(tuple(self._edits.values()), tuple(self.undo_steps))

    def undo(self) -> None:
        """Put the model back."""
        undo_all(self.undo_steps)

    def fold(self) -> None:
        """Fold what can be folded, and note what cannot."""
        reason = self._prepare()
        if not reason:
            self.proof = Proof(self.model, self.twin, batches=[(batch, doubled(batch)) for batch in self.batches])
            reason = self.proof.reason
        for name in self.norms:
            self._refuse(name, reason)
        if not reason:
            self._attempt(self.norms)
            self._refuse_function_calls()

    def plan(self) -> tuple[Plan, ...]:
        """Plan every norm, each as if those before it were folded as planned."""
        reason = self._prepare()
        if reason:
            return tuple(Plan(layer=name, reason=reason) for name in self.norms)
        plans = []
        with in_float64():
            for name in self.norms:
                plans.append(plan_of(name, self.layers))
                if not plans[-1].reason:
                    self._fold_twin(plans[-1])
        return tuple(plans)

    def _prepare(self) -> str:
        """Run the twin once to see what flows where; what speaks against folding anything at all."""
        if any(tensor.is_meta for tensor in chain(self.model.parameters(), self.model.buffers())):
            return "the model has meta tensors, which hold no values"
        with preserved(self.model):  # refuses lazy layers in its own words
            self.twin = float64_twin(self.model)
        names = {name: module for module, name in module_names(self.twin).items()}
        norms = {name: names[name] for name in self.norms}
        to_open = [name for name, norm in norms.items() if is_subclass(norm)] if self.subclasses else []
        try:
            with in_float64():
                batch = doubled(self.batches[0]).owned_by(self.twin)
                self.flow = flow_of(self.twin, batch, norms=norms, to_open=to_open)
        except CaptureError as error:
            with in_eval(self.model):
                flow_of(self.model, self.batches[0].owned_by(self.model), norms={})
            return f"the model does not run in float64: {error}"
        self.layers = Layers(self.twin, self.flow, original=self.model, subclasses=self.subclasses)
        ran = [name for name in self.flow.uses if self._is_wanted(name)]
        self.norms = ran + [name for name in self.norms if name not in self.flow.uses and self._is_wanted(name)]
        return ""

    def _is_wanted(self, name: str) -> bool:
        """A norm, or another leaf of buffers that is affine or says so; what is neither was never meant."""
        norm = self.layers.by_name[name]
        if keeps_statistics(norm):
            return True
        uses = self.flow.uses.get(name, ())
        if not uses or not self.flow.is_plain(uses[0]):
            return hasattr(norm, "affine")
        return hasattr(norm, "affine") or affine_of(norm, self.flow.shape(uses[0].result)) is not None

    def _attempt(self, norms: Sequence[str]) -> None:
        """Fold all of these; if the proof fails, each half on its own, down to the one that is to blame."""
        plans, steps = list[Plan](), list[Undo]()
        with in_float64():
            for name in norms:
                plan = plan_of(name, self.layers)
                if plan.reason:
                    self._refuse(name, plan.reason)
                else:
                    plans.append(plan)
                    steps.append(self._fold_twin(plan))
        if not plans:
            return
        reason, error = self._certify(plans)
        if not reason:
            return
        undo_all(steps)
        if len(plans) == 1:
            self._refuse(plans[0].layer, reason, error=error)
            return
        half = len(plans) // 2
        names = [plan.layer for plan in plans]
        self._attempt(names[:half])
        self._attempt(names[half:])

    def _certify(self, plans: Sequence[Plan]) -> tuple[str, float]:
        """Do to the model what was done to the twin, if both proofs hold; what speaks against it, and the change."""
        change, where = self.proof.change()
        if math.isinf(change):
            return (
                "without it the model raises, or gives something else: it is read by more than what is called",
                change,
            )
        if not change <= EXACT:
            on = f", on a batch {where}" if where else ""
            return f"folding moves the output by {change:.1e} of its size in float64{on}", change
        mark = len(self.undo_steps)
        for plan in plans:
            self._fold_model(plan)
        rounding = self.proof.rounding()
        if not rounding.is_small:
            undo_all(self.undo_steps[mark:])
            del self.undo_steps[mark:]
            return f"folding rounds worse: {rounding}, more than {rounding.limit:.1e}", change
        for plan in plans:
            note = f"its place pads with −shift/scale where {plan.into[0]} padded with zeros; " if plan.pad else ""
            action = f"fold into {', '.join(plan.into)}"
            self._edits[plan.layer] = Edit(layer=plan.layer, action=action, error=change, reason=f"{note}{rounding}")
        return "", change

    def _fold_twin(self, plan: Plan) -> Undo:
        """Write the numbers of one plan into the twin and take its norm out."""
        names = self.layers.by_name
        steps = [self._take_in(target, plan) for target in plan.targets]
        if plan.pad:
            steps.append(drop_padding(names[plan.into[0]]))
        norm = names[plan.layer]
        stand_in = self._stand_in(norm, plan)
        steps.append(replace(self.twin, norm, new=stand_in))
        names[plan.layer] = stand_in
        self.flow.removed.add(plan.layer)

        def undo() -> None:
            undo_all(steps)
            names[plan.layer] = norm
            self.flow.removed.discard(plan.layer)

        return undo

    def _take_in(self, target: Target, plan: Plan) -> Undo:
        layer: Any = self.layers.by_name[target.layer]
        assert plan.affine is not None
        scale, shift = at_channels(plan.affine, target.channels)
        if target.op == "batch_norm":
            weight, bias = _composed(layer, scale, shift)
        elif plan.side == "before":
            weight, bias = absorbed_after(
                target.op, layer.weight, layer.bias, scale=scale, shift=shift, groups=target.groups
            )
        else:
            assert target.moved is not None
            weight, bias = absorbed_before(
                target.op, layer.weight, layer.bias, scale=scale, moved=target.moved, groups=target.groups
            )
        return assign(layer, weight=weight, bias=bias)

    def _fold_model(self, plan: Plan) -> None:
        """Let the model hold what the twin holds, rounded once."""
        twins = self.layers.by_name
        for name in plan.into:
            # A norm that took in the one before it may be gone by now, with all that it took.
            if name not in self.flow.removed:
                self.undo_steps.append(mirror(twins[name], self.parts[name]))
        norm = self.parts[plan.layer]
        like: Any = self.parts[plan.into[0]].weight
        self.undo_steps.append(replace(self.model, norm, new=self._stand_in(norm, plan, like=like)))

    def _stand_in(self, norm: nn.Module, plan: Plan, *, like: Tensor | None = None) -> nn.Module:
        """What stands where the norm was: the padding that it takes over, and its own children where it called some."""
        opened = norm if plan.layer in self.flow.opened else None
        if not plan.pad:
            return stand_in_for(opened)
        assert plan.affine is not None
        scale, shift = plan.affine.scale, plan.affine.shift
        pad = PadPerChannel(torch.where(scale == 0, 0.0, -shift / scale), plan.pad)
        return stand_in_for(opened, pad=pad if like is None else pad.to(like))

    def _refuse(self, name: str, reason: str, *, error: float | None = None) -> None:
        self._edits[name] = Edit(layer=name, action="fold", applied=False, reason=reason, error=error)

    def _refuse_function_calls(self) -> None:
        inside = {index for uses in self.flow.uses.values() for use in uses for index in use.inner}
        for call in self.flow.graph.of_kind("batch_norm"):
            if call.index not in inside:
                reason = "it is a function call in the model's own forward; make it a module"
                self._edits.setdefault(call.name, Edit(layer=call.name, action="fold", applied=False, reason=reason))


def _composed(norm: Any, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """γ and β of a BatchNorm that does scale·x + shift before its own map; its running statistics stay."""
    own = affine_of(norm, ())
    assert own is not None
    total, offset = own.scale * scale, own.scale * shift + own.shift
    return total * (norm.running_var + norm.eps).sqrt(), offset + norm.running_mean * total

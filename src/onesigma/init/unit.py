"""The scheme `unit`: an analytic draw, then the running pass itself sets every pre-activation std to 1."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from onesigma.init.recurrent import draw_recurrent_
from onesigma.init.scale import factor_beside, feeding_gain, is_blank, normal_like, offset_of, std_of
from onesigma.init.targets import Owners, Taken, Target, find_target
from onesigma.model.capture import Listener, Recorder, Site
from onesigma.model.edits import Edit
from onesigma.model.graph import Call, Graph

__all__ = ["INTENDED_ZERO", "Draw", "UnitScale"]

INTENDED_ZERO = "intended zero: it gates a branch or opens a head, and stays zero"


@dataclass(frozen=True, slots=True)
class Draw:
    """A fresh weight, how it was made, and the std that its output is set to; 0 leaves the output as it comes."""

    value: torch.Tensor
    how: str
    goal: float = 1.0


class UnitScale(Listener):
    """Draws each weight as its layer is about to run, and rescales it by the std of what came out.

    The draw is N(0, gain²/fan_in) with the gain of the nonlinearity that feeds the layer, from the stream
    (seed, canonical name). Since the layer is linear in its weight and its bias is zero, W/s gives y/s: the pass goes
    on with a pre-activation of std 1, and no layer runs twice.

    Attributes:
        edits: What was done, in execution order.
        saved: Every parameter that was written, and its value before.
        blank: Calls whose weight is all zeros and was left so, and the name of that weight.
        targets: Index of each call whose weight was set → that weight.
    """

    def __init__(
        self,
        owners: Owners,
        *,
        seed: int,
        skip: Collection[str] = (),
        forgotten: Collection[str] = (),
        tied: Mapping[str, str] | None = None,
    ) -> None:
        self.owners = owners
        self.seed = seed
        self.skip = tuple(skip)
        self.forgotten = frozenset(forgotten)
        self.blank: list[tuple[Call, str]] = []
        self.targets: dict[int, Target] = {}
        self.tied = tied or {}
        self.recorder: Recorder | None = None
        self.edits: list[Edit] = []
        self.saved: dict[nn.Parameter, torch.Tensor] = {}
        self._taken = Taken()
        self._gains: dict[object, float] = {}
        self._drawn: dict[int, tuple[Target, Call, Draw]] = {}

    def before(self, site: Site) -> None:
        """Draw the weight of a layer that is met for the first time."""
        if site.arguments.get("max_norm") is not None:  # The call itself then writes to the weight.
            self._save(*(weight for weight in site.weights.values() if isinstance(weight, nn.Parameter)))
        if site.call.kind == "recurrent":
            self._draw_recurrent(site)
        elif site.call.kind in ("linear", "embedding") and "weight" in site.weights:
            target = find_target(site, self.owners)
            if reason := self._reason_against(site.call, target):
                self._refuse(site.call, reason)
            elif isinstance(target, Target):
                self._draw(site, target)
        elif site.call.kind == "linear":
            self._refuse(site.call, "its weight is no parameter but what another call of the model made")

    def after(self, site: Site, output: Any) -> Any:
        """Rescale what was just drawn, so that the pass goes on at unit scale."""
        if site.call.index not in self._drawn:
            return output
        target, call, draw = self._drawn.pop(site.call.index)
        std = std_of(output)
        factor = draw.goal / std if std else math.inf
        reason = draw.how
        if math.isfinite(std) and (offset := offset_of(site)) is not None:
            return self._scale_beside(offset, output, target=target, call=call, draw=draw)
        if math.isfinite(factor) and factor:
            try:
                target.scale(factor)
            except ValueError as error:
                reason, factor = f"{reason}; {error}", 0.0
        else:
            reason += f"; its output has std {std:g} on this batch, so only the analytic draw was made"
            factor = 0.0
        if not factor:
            self.edits.append(Edit(layer=call.name, action="draw weight", before=std, after=std, reason=reason))
            return output
        _keep_padding(site, target)
        # What a layer has just made is its own memory, unless it is half as precise as its scale.
        output = output.mul_(factor) if output.dtype in (torch.float32, torch.float64) else output * factor
        after = std_of(output)
        self.edits.append(Edit(layer=call.name, action="draw and scale weight", before=std, after=after, reason=reason))
        return output

    def _scale_beside(
        self, offset: torch.Tensor, output: torch.Tensor, *, target: Target, call: Call, draw: Draw
    ) -> torch.Tensor:
        """Rescale a weight whose bias stays as it is: frozen, skipped, or computed from others."""
        std, linear, action = std_of(output), output - offset, "draw weight"
        reason = f"{draw.how}; beside a bias that stays"
        if factor := factor_beside(offset, linear, goal=draw.goal):
            try:
                target.scale(factor)
                output, action = linear * factor + offset, "draw and scale weight"
            except ValueError as error:
                reason = f"{reason}; {error}"
        else:
            reason = f"{reason} and alone has a larger std, so only the analytic draw was made"
        self.edits.append(Edit(layer=call.name, action=action, before=std, after=std_of(output), reason=reason))
        return output

    def _reason_against(self, call: Call, target: Target | str) -> str:
        """Why the weight of this call is left alone; empty if it is not."""
        if isinstance(target, str):
            return target
        names = (call.layer, target.name, call.parameters.get("weight", ""))
        if any(fnmatchcase(name, pattern) for pattern in self.skip for name in names):
            return "skipped as asked"
        if earlier := self._taken.by(target):
            return f"reused: set when {earlier!r} ran"
        if target.name not in self.forgotten and is_blank(target.value):
            self.blank.append((call, target.name))
            return INTENDED_ZERO
        if not call.fan_in:
            return "its fan_in is unknown"
        return ""

    def _refuse(self, call: Call, reason: str) -> None:
        self.edits.append(Edit(layer=call.name, action="draw weight", applied=False, reason=reason))

    def _draw(self, site: Site, target: Target) -> None:
        call = site.call
        self._save(*target.stored)
        draw = self._tied_draw(target) if call.kind == "embedding" and target.name in self.tied else None
        draw = draw or self._planned(call, target)
        if site.arguments.get("max_norm") is not None:
            draw = Draw(
                draw.value, f"{draw.how}; its rows are held to max_norm, so the output is left as it comes", goal=0
            )
        try:
            target.write(draw.value.to(target.value.dtype))
        except ValueError as error:
            self._put_back(*target.stored)
            self._refuse(call, str(error))
            return
        self._taken.add(target, by=call.name)
        self.targets[call.index] = target
        _keep_padding(site, target)
        self._zero_bias(site)
        if draw.goal:
            self._drawn[call.index] = (target, call, draw)
        else:
            after = float(draw.value.std(correction=0))
            self.edits.append(Edit(layer=call.name, action="draw weight", after=after, reason=draw.how))

    def _planned(self, call: Call, target: Target) -> Draw:
        """The weight that `call` gets: here N(0, gain²/fan_in)."""
        gain, feeder = feeding_gain(self._graph, call, known=self._gains)
        value = normal_like(target, std=gain / math.sqrt(call.fan_in), key=(self.seed, target.name))
        return Draw(value, f"gain {gain:.4f} ({feeder}), fan_in {call.fan_in:g}")

    def _tied_draw(self, target: Target) -> Draw:
        width = target.value.shape[-1]
        value = normal_like(target, std=1 / math.sqrt(width), key=(self.seed, target.name))
        return Draw(value, f"tied to {self.tied[target.name]!r}: std 1/√{width} keeps that head at unit scale", goal=0)

    def _zero_bias(self, site: Site) -> None:
        if "bias" not in site.weights:
            return
        target = find_target(site, self.owners, role="bias")
        if isinstance(target, str):
            return
        known = [parameter in self.saved for parameter in target.stored]
        self._save(*target.stored)
        try:
            target.write(torch.zeros_like(target.value))
        except ValueError:
            self._put_back(*(parameter for parameter, was in zip(target.stored, known, strict=True) if not was))

    def _draw_recurrent(self, site: Site) -> None:
        call = site.call
        targets = {role: find_target(site, self.owners, role=role) for role in site.weights}
        plain = {role: target for role, target in targets.items() if isinstance(target, Target)}
        reasons = [reason for target in targets.values() if (reason := self._reason_against(call, target))]
        if reasons or not plain:
            self._refuse(call, reasons[0] if reasons else "it has no weights")
            return
        fresh = {role: torch.zeros_like(target.value) for role, target in plain.items()}
        names = {role: target.name for role, target in plain.items()}
        how = draw_recurrent_(fresh, op=call.op, seed=self.seed, names=names)
        for role, target in plain.items():
            self._save(*target.stored)
            self._taken.add(target, by=call.name)
            target.write(fresh[role])
        self.edits.append(Edit(layer=call.name, action="draw gates", reason=how))

    @property
    def _graph(self) -> Graph:
        assert self.recorder is not None
        return self.recorder.graph

    def _save(self, *parameters: nn.Parameter) -> None:
        for parameter in parameters:
            if parameter not in self.saved:
                self.saved[parameter] = parameter.detach().clone()

    def _put_back(self, *parameters: nn.Parameter) -> None:
        for parameter in parameters:
            parameter.copy_(self.saved.pop(parameter))


def _keep_padding(site: Site, target: Target) -> None:
    """The row of an embedding's padding index is zero and stays so."""
    padding = site.arguments.get("padding_idx")
    if site.call.kind == "embedding" and isinstance(padding, int) and padding >= 0:
        target.value[padding].zero_()

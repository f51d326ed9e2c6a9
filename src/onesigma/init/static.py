"""Schemes that look at no value of the data: fans and gains by role, and the recipes of deep networks."""

import math
from collections.abc import Callable, Mapping

import torch

from onesigma.init import recipes
from onesigma.init.orthogonal import orthogonal_
from onesigma.init.parts import Parts
from onesigma.init.recipes import Recipe, Role
from onesigma.init.scale import blank_like, feeding_gain, normal_like
from onesigma.init.targets import Target
from onesigma.init.unit import Draw, UnitScale
from onesigma.model.fan import Fan
from onesigma.model.graph import Call, Graph

__all__ = ["RECIPES", "RULES", "PlannedScale", "RecipeScale", "RuleScale", "logical_blocks"]

RULES: Mapping[str, Callable[[float, Fan], float]] = {
    "kaiming": lambda gain, fan: gain / math.sqrt(fan.fan_in),
    "xavier": lambda gain, fan: gain * math.sqrt(2 / (fan.fan_in + fan.fan_out)),
    "lecun": lambda gain, fan: 1 / math.sqrt(fan.fan_in),
    "orthogonal": lambda gain, fan: gain / math.sqrt(fan.fan_in),
}
"""Scheme → the std of a weight, from the gain of what feeds it and its fans."""

RECIPES = ("gpt2", "llama", "deepnorm", "t-fixup", "fixup", "mup")
"""Schemes that scale by the role of a weight and by depth."""

_INIT_RANGE = 0.02


class PlannedScale(UnitScale):
    """Draws as `std_of` says once the whole graph is known, and leaves outputs as they come.

    Attributes:
        scheme: The name of the rule or recipe.
        plan: The graph of an earlier pass.
        parts: What each of its weights is for.
    """

    scheme: str
    plan: Graph
    parts: Parts

    def plan_for(self, graph: Graph, *, scheme: str) -> None:
        """Tell the scheme its name and the whole graph."""
        self.scheme, self.plan, self.parts = scheme, graph, Parts(graph)

    def _planned(self, call: Call, target: Target) -> Draw:
        std, how = self._std(self.plan.calls[call.index], target)
        return Draw(normal_like(target, std=std, key=(self.seed, target.name)), f"{self.scheme}: {how}", goal=0)

    def _std(self, call: Call, target: Target) -> tuple[float, str]:
        raise NotImplementedError


class RuleScale(PlannedScale):
    """Kaiming, Xavier, LeCun, orthogonal: by the fans of the role and the exact gain of what feeds the layer."""

    def _std(self, call: Call, target: Target) -> tuple[float, str]:
        gain, feeder = feeding_gain(self.plan, call, known=self._gains)
        fan = Fan(call.fan_in, call.fan_out / logical_blocks(self.plan, call))
        std = RULES[self.scheme](gain, fan)
        return std, f"std {std:.4g} from gain {gain:.4f} ({feeder}), fan_in {fan.fan_in:g}, fan_out {fan.fan_out:g}"

    def _planned(self, call: Call, target: Target) -> Draw:
        if self.scheme != "orthogonal" or call.kind != "linear" or target.value.dim() < 2:
            return super()._planned(call, target)
        std, how = self._std(self.plan.calls[call.index], target)
        return Draw(self._orthogonal(call, target) * std, f"orthogonal: {how}", goal=0)

    def _orthogonal(self, call: Call, target: Target) -> torch.Tensor:
        """One orthogonal matrix per expert, group or logical block; of rms 1."""
        whole = blank_like(target)
        transposed = "transpose" in call.op
        if whole.dim() == 3 and not call.op.startswith("conv"):
            pieces = list(whole.unbind(0))
        else:
            groups = call.attributes.get("groups", 1)
            count = groups if isinstance(groups, int) else 1
            blocks = max(count, logical_blocks(self.plan, self.plan.calls[call.index]))
            pieces = list(whole.chunk(blocks if not transposed and whole.shape[0] % blocks == 0 else 1))
        for number, piece in enumerate(pieces):
            matrix = piece.flatten(1) if piece.dim() > 1 else piece[:, None]
            drawn = orthogonal_(torch.empty_like(matrix), key=(self.seed, f"{target.name}[{number}]"))
            piece.copy_((drawn * math.sqrt(max(matrix.shape))).view_as(piece))
        return whole


class RecipeScale(PlannedScale):
    """The recipes of `recipes`, by what each weight is for; residual writers are found from the graph.

    Weights that a recipe does not name are drawn by LeCun's rule with the gain of what feeds them.
    """

    def _std(self, call: Call, target: Target) -> tuple[float, str]:
        name = call.parameters.get("weight", "")
        roles, fan = self.parts.of(name), Fan(call.fan_in, call.fan_out / logical_blocks(self.plan, call))
        if self.scheme == "mup":
            return self._mup(call, roles=roles)
        if self.scheme == "llama":
            return self._llama(call, name=name, roles=roles)
        role, recipe = _role_of(call, roles), self._recipe(call)
        if role in recipe.parts:
            std = recipe.std(role, fan)
            kept = "" if recipe.residual == 1 else f"; its residual factor {recipe.residual:.4g} belongs in the forward"
            return std, f"std {std:.4g} as {role}, {len(self.parts.residual_joins)} residual sums{kept}"
        gain, feeder = feeding_gain(self.plan, call, known=self._gains)
        std = gain / math.sqrt(fan.fan_in)
        return std, f"std {std:.4g}, not named by the recipe: gain {gain:.4f} ({feeder}), fan_in {fan.fan_in:g}"

    def _recipe(self, call: Call) -> Recipe:
        joins = max(1, len(self.parts.residual_joins))
        streams = sorted((stream for stream in self.parts.streams if len(stream) > 1), key=lambda s: s[0].index)
        if self.scheme == "fixup":
            return recipes.fixup(joins)
        if len(streams) == 2 and self.scheme in ("deepnorm", "t-fixup"):
            # An encoder's layer writes twice, a decoder's three times.
            encoder, decoder = max(1, len(streams[0]) // 2), max(1, len(streams[1]) // 3)
            is_decoder = call.index > streams[0][-1].index
            if self.scheme == "deepnorm":
                return recipes.deepnorm_decoder(decoder) if is_decoder else recipes.deepnorm_encoder(encoder, decoder)
            return recipes.t_fixup_decoder(decoder) if is_decoder else recipes.t_fixup_encoder(encoder)
        layers = max(1, -(-joins // 2))
        made = {"gpt2": recipes.gpt2, "deepnorm": recipes.deepnorm, "t-fixup": recipes.t_fixup_encoder}
        return made[self.scheme](layers)

    def _llama(self, call: Call, *, name: str, roles: frozenset[str]) -> tuple[float, str]:
        """N(0, 0.02²), writers of layer l (from 0) divided by √(2(l + 1)), embedding 1, head 1/√d."""
        if "embedding" in roles:
            return 1.0, "std 1 as embedding"
        if "head" in roles:
            return 1 / math.sqrt(call.fan_in), "std 1/√fan_in as head"
        if name in self.parts.writers:
            layer = self.parts.writers[name] // 2
            std = _INIT_RANGE / math.sqrt(2 * (layer + 1))
            return std, f"std {std:.4g} as residual writer of layer {layer}"
        return _INIT_RANGE, "std 0.02"

    def _mup(self, call: Call, *, roles: frozenset[str]) -> tuple[float, str]:
        """Hidden weights gain/√fan_in, embedding 1, readout 1/fan_in, whose logits vanish with width."""
        if "head" in roles and call.kind == "linear":
            return 1 / call.fan_in, "std 1/fan_in as readout"
        gain, feeder = feeding_gain(self.plan, call, known=self._gains)
        std = gain / math.sqrt(call.fan_in)
        return std, f"std {std:.4g}: gain {gain:.4f} ({feeder}), fan_in {call.fan_in:g}"


def logical_blocks(graph: Graph, call: Call) -> int:
    """Into how many equal parts the output is taken, as query, key and value are from a packed one; 1 if it is not."""
    paths = graph.sinks(call)
    # One call may read several parts: attention takes all three of them.
    reads = sum(
        1 if path.end is None else path.end.inputs.count(path.passed[-1].index) for path in paths if path.passed
    )
    if reads < 2 or not all(path.passed for path in paths):
        return 1
    whole = math.prod(call.shape)
    parts = {math.prod(min((step.shape for step in path.passed), key=math.prod)) for path in paths}
    (part,) = parts if len(parts) == 1 else (whole,)
    count = whole // part if part and whole % part == 0 else 1
    return count if count <= reads and call.fan_out % count == 0 else 1


def _role_of(call: Call, roles: frozenset[str]) -> Role:
    """The one role that a recipe knows the weight by."""
    if call.kind == "embedding":
        return "embedding"
    if "residual_writer" in roles:
        return "contract"
    if "head" in roles:
        return "head"
    if "value" in roles and not roles & {"query", "key"}:
        return "value"
    return "query" if "qkv" in roles else "expand"

"""What is found of each weight, and what its recipe gives its role and depth."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from onesigma.init.static import RULES, PlannedScale, RecipeScale, RuleScale
from onesigma.init.targets import Owners, Target
from onesigma.model.graph import Call, Graph

__all__ = ["SLACK", "Weighed", "weigh"]

# Beside the sampling error of a std: constants that are rounded, uniform for normal, truncation at 2σ.
SLACK = 0.13


@dataclass(frozen=True, slots=True)
class Weighed:
    """One weight, what was found of it, and what is due.

    Attributes:
        name: Canonical name.
        call: The first that reads it.
        stored: The parameter, or the first one that it is computed from.
        values: What the call reads.
        roles: See `Parts`.
        std: About zero, of the values.
        due: What the recipe gives it.
    """

    name: str
    call: Call
    stored: torch.Tensor
    values: torch.Tensor
    roles: frozenset[str]
    std: float
    due: float

    @property
    def ratio(self) -> float:
        """Found over due."""
        return self.std / self.due if self.due else math.inf

    def is_near(self, std: float) -> bool:
        """Within five standard errors of a std of n draws, 1/√(2n), and what roundings and truncation make."""
        return bool(std) and abs(self.std / std - 1) <= SLACK / 4 + 5 / math.sqrt(2 * self.values.numel())


def weigh(model: nn.Module, graph: Graph, *, recipe: str) -> list[Weighed]:
    """Every weight of the graph that a std can be told of, in execution order."""
    owners = Owners.of(model)
    scheme: PlannedScale = (RuleScale if recipe in RULES else RecipeScale)(owners, seed=0)
    scheme.plan_for(graph, scheme=recipe)
    found: dict[str, Weighed] = {}
    for call in graph.of_kind("linear", "embedding"):
        name = call.parameters.get("weight", "")
        stored = owners.parameters.get(name)
        if name in found or stored is None or not call.fan_in:
            continue
        value = _effective(name, stored, call=call, owners=owners)
        if value is None or value.is_meta or value.dim() < 2:
            continue
        target = Target(name=name, value=value, stored=(), write=lambda new: None)
        due, _ = scheme._std(call, target)
        std = float(value.double().square().mean().sqrt())
        found[name] = Weighed(name, call, stored, value, scheme.parts.of(name), std, due)
    return list(found.values())


def _effective(name: str, stored: torch.Tensor, *, call: Call, owners: Owners) -> torch.Tensor | None:
    """The weight that the call reads; None where it is computed by anything but weight norm, and has its own scale."""
    if not call.attributes.get("parametrized", False):
        return stored.detach()
    path, _, attribute = name.rpartition(".")
    owner = owners.modules.get(path)
    if owner is None or not parametrize.is_parametrized(owner, attribute):
        return None
    chain = owner.parametrizations[attribute]  # type: ignore[index]
    if any(type(each).__name__ != "WeighedNorm" for each in chain):
        return None
    with torch.no_grad():
        value: torch.Tensor = getattr(owner, attribute)
    return value

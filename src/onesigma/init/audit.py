"""Does the initialization of a model match its recipe? Every weight is held against what its role and depth ask for."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from onesigma._errors import ConfigError
from onesigma._typing import Batches
from onesigma.init.static import RECIPES, RULES, PlannedScale, RecipeScale, RuleScale
from onesigma.init.targets import Owners, Target
from onesigma.model.batches import first_batch
from onesigma.model.capture import capture
from onesigma.model.graph import Call, Graph
from onesigma.model.names import module_names, unwrapped
from onesigma.model.state import preserved

__all__ = ["Misfit", "audit"]

# Beside the sampling error of a std: constants that are rounded, uniform for normal, truncation at 2σ.
_SLACK = 0.13
_SHARDS = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One weight that is not what its recipe says.

    Attributes:
        weight: Canonical name.
        kind: "unset", "unscaled-residual-writer", "wrong-projection-scaled", "packed-projections", "fan-of-a-shard",
            "no-op-truncation", "identical-tensors", "lost-under-weight-norm" or "off-recipe".
        message: One sentence with both numbers.
        value: Std found, or share of values beyond the bound.
        expected: Std that the recipe asks for; NaN where the misfit is of another kind.
    """

    weight: str
    kind: str
    message: str
    value: float = math.nan
    expected: float = math.nan


@dataclass(frozen=True, slots=True)
class _Weight:
    """One weight, what was found of it, and what is due."""

    name: str
    call: Call
    values: torch.Tensor
    roles: frozenset[str]
    std: float
    due: float

    @property
    def ratio(self) -> float:
        return self.std / self.due if self.due else math.inf

    def is_near(self, std: float) -> bool:
        """Within five standard errors of a std of n draws, 1/√(2n), and what roundings and truncation make."""
        return bool(std) and abs(self.std / std - 1) <= _SLACK / 4 + 5 / math.sqrt(2 * self.values.numel())


def audit(
    model: nn.Module, batches: Batches, *, recipe: str = "kaiming", truncated: float | None = None
) -> tuple[Misfit, ...]:
    """Compare every weight of a fresh model with the std that its recipe gives its role; one forward pass, no change.

    Args:
        model: Freshly initialized by the code under audit.
        batches: One batch, for the graph; meta tensors do.
        recipe: A rule ("kaiming", "xavier", "lecun", "orthogonal") or a recipe ("gpt2", "llama", "deepnorm",
            "t-fixup", "fixup", "mup"); see `initialize_`.
        truncated: All values should lie within so many std; None asks nothing of them.

    Raises:
        ConfigError: There is no such recipe.
        CaptureError: The model raised.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        >>> [misfit.kind for misfit in audit(model, torch.randn(8, 64), recipe="kaiming")]
        ['unset', 'unset']
    """
    if recipe not in (*RULES, *RECIPES):
        raise ConfigError(f"audit: recipe must be one of {', '.join((*RULES, *RECIPES))}, got {recipe!r}.")
    module = unwrapped(model)
    lost = tuple(_lost(module))
    with preserved(module), torch.no_grad():
        graph = capture(module, first_batch(batches).owned_by(module))
    weights = _weights(module, graph, recipe=recipe)
    scaled = {weight.due for weight in weights if "residual_writer" in weight.roles}
    known = {misfit.weight for misfit in lost}
    judged = (_judged(weight, scaled=scaled) for weight in weights if weight.name not in known)
    found = (*lost, *_identical(weights), *(misfit for misfit in judged if misfit is not None))
    return found if truncated is None else (*found, *_untruncated(weights, bound=truncated))


def _weights(model: nn.Module, graph: Graph, *, recipe: str) -> list[_Weight]:
    owners = Owners.of(model)
    scheme: PlannedScale = (RuleScale if recipe in RULES else RecipeScale)(owners, seed=0)
    scheme.plan_for(graph, scheme=recipe)
    found: dict[str, _Weight] = {}
    for call in graph.of_kind("linear", "embedding"):
        name = call.parameters.get("weight", "")
        value = owners.parameters.get(name)
        is_derived = call.attributes.get("parametrized", False)
        if name in found or value is None or is_derived or value.is_meta or value.dim() < 2 or not call.fan_in:
            continue
        target = Target(name=name, value=value, stored=(), write=lambda new: None)
        due, _ = scheme._std(call, target)
        std = float(value.detach().double().square().mean().sqrt())
        found[name] = _Weight(name, call, value.detach(), scheme.parts.of(name), std, due)
    return list(found.values())


def _judged(weight: _Weight, *, scaled: set[float]) -> Misfit | None:
    is_writer = "residual_writer" in weight.roles
    numbers = f"std {weight.std:.4g}, {weight.due:.4g} is due"
    if weight.std == 0 and (is_writer or weight.roles & {"head", "gate"}):
        return None  # Zero on purpose.
    is_unset = _is_default(weight)
    # A head may start as small as it likes: the loss is then log C.
    if weight.is_near(weight.due) or ("head" in weight.roles and weight.std < weight.due and not is_unset):
        return None
    if is_unset:
        kind, why = "unset", "it still has the default of torch"
    elif is_writer and weight.ratio > 1:
        kind, why = "unscaled-residual-writer", "a residual writer is not scaled down with depth"
    elif not is_writer and any(weight.is_near(std) for std in scaled if std < weight.due):
        kind, why = "wrong-projection-scaled", "it has the scale of a residual writer and is none"
    elif weight.roles >= {"query", "key", "value"} and 0.6 < weight.ratio < 0.8:
        kind, why = "packed-projections", "packed query, key and value were counted as one layer (fan of the stack)"
    elif any(weight.is_near(weight.due * math.sqrt(parts)) for parts in _SHARDS):
        parts = round(weight.ratio**2)
        kind, why = "fan-of-a-shard", f"too large by √{parts}, as if the fan were that of one of {parts} shards"
    else:
        kind, why = "off-recipe", f"off by × {weight.ratio:.3g}"
    message = f"{weight.name}: {why} ({numbers})."
    return Misfit(weight=weight.name, kind=kind, message=message, value=weight.std, expected=weight.due)


def _is_default(weight: _Weight) -> bool:
    """As `reset_parameters` leaves it: U(±1/√fan_in) of Linear and convolutions, N(0, 1) of Embedding."""
    if weight.call.kind == "embedding":
        return weight.is_near(1.0)
    out, rest = weight.values.shape[0], weight.values[0].numel()
    bound = 1 / math.sqrt(rest) if out else 0.0
    return bool(weight.values.abs().max() <= bound * (1 + 1e-6)) and weight.is_near(bound / math.sqrt(3))


def _identical(weights: list[_Weight]) -> Iterator[Misfit]:
    """Tensors of one shape with equal values, as one seed per layer makes them."""
    seen: dict[tuple[object, ...], str] = {}
    for weight in weights:
        flat = weight.values.reshape(-1)
        if weight.std == 0 or bool((flat == flat[0]).all()):
            continue
        key = (tuple(weight.values.shape), *(flat[:8].tolist()), weight.std)
        if key in seen:
            message = f"{weight.name}: it equals {seen[key]}, value for value; draw each from a stream of its own."
            yield Misfit(weight=weight.name, kind="identical-tensors", message=message, value=1.0)
        else:
            seen[key] = weight.name


def _untruncated(weights: list[_Weight], *, bound: float) -> Iterator[Misfit]:
    for weight in weights:
        beyond = float((weight.values.abs() > bound * weight.std * (1 + _SLACK)).double().mean())
        if beyond > 0 and weight.call.kind == "linear":
            largest = float(weight.values.abs().max()) / weight.std
            message = (
                f"{weight.name}: values reach {largest:.1f} std where {bound:g} is the bound; torch's bounds are "
                f"absolute, so trunc_normal_(std=s) needs a=-{bound:g}*s, b={bound:g}*s."
            )
            yield Misfit(weight=weight.name, kind="no-op-truncation", message=message, value=beyond)


def _lost(model: nn.Module) -> Iterator[Misfit]:
    """Weights that were written after weight norm: the next forward pass computes them anew from g and v."""
    names: Mapping[nn.Module, str] = module_names(model)
    for module, path in names.items():
        for hook in module._forward_pre_hooks.values():
            if not isinstance(hook, WeightNorm):
                continue
            held, computed = getattr(module, hook.name).detach(), hook.compute_weight(module).detach()
            if held.is_meta or torch.allclose(held, computed, rtol=1e-3, atol=1e-6):
                continue
            name = f"{path}.{hook.name}" if path else hook.name
            message = f"{name}: it was written after weight_norm, and the next pass computes it anew; write g and v."
            yield Misfit(weight=f"{name}_v", kind="lost-under-weight-norm", message=message)

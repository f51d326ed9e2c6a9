"""Does the initialization of a model match its recipe? Every weight is held against what its role and depth ask for."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from onesigma._errors import ConfigError, ModelError
from onesigma._typing import Batches
from onesigma.init.buffers import wiped_buffers
from onesigma.init.due import SLACK, Weighed, weigh
from onesigma.init.history import History
from onesigma.init.misfit import Misfit
from onesigma.init.rewritten import drawn_again, lost_writes, never_written, no_op_truncation
from onesigma.init.static import RECIPES, RULES
from onesigma.model.batches import first_batch
from onesigma.model.capture import capture
from onesigma.model.names import module_names, unwrapped
from onesigma.model.state import preserved

__all__ = ["Misfit", "audit"]

_SHARDS = (2, 4, 8, 16)


def audit(
    model: nn.Module | Callable[[], nn.Module],
    batches: Batches,
    *,
    recipe: str = "kaiming",
    truncated: float | None = None,
    history: History | None = None,
) -> tuple[Misfit, ...]:
    """Compare every weight of a fresh model with the std that its recipe gives its role; one forward pass, no change.

    Given the function that builds the model, the audit also sees what the values do not tell: weights that are drawn
    twice, what is drawn into a computed weight and so lost, memory that `to_empty` made and nobody filled, and bounds
    of truncated normals that cut nothing.

    Args:
        model: Freshly initialized by the code under audit, or the function that does so.
        batches: One batch, for the graph; meta tensors do.
        recipe: A rule ("kaiming", "xavier", "lecun", "orthogonal") or a recipe ("gpt2", "llama", "deepnorm",
            "t-fixup", "fixup", "mup"); see `initialize_`.
        truncated: All values should lie within so many std; None asks nothing of them.
        history: What was written while the model was built, if you built it yourself.

    Raises:
        ConfigError: There is no such recipe.
        ModelError: The function returned no model.
        CaptureError: The model raised.

    Example:
        >>> def build() -> nn.Module:
        ...     model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        ...     _ = nn.init.kaiming_normal_(model[0].weight, nonlinearity="linear")
        ...     _ = nn.init.xavier_normal_(model[0].weight)
        ...     return model
        >>> [misfit.kind for misfit in audit(build, torch.randn(8, 64), recipe="lecun")]
        ['doubly-set', 'unset']
    """
    if recipe not in (*RULES, *RECIPES):
        raise ConfigError(f"audit: recipe must be one of {', '.join((*RULES, *RECIPES))}, got {recipe!r}.")
    if not isinstance(model, nn.Module):
        model, history = _built(model)
    module = unwrapped(model)
    early = [*wiped_buffers(module, history), *_lost(module)]
    if history is not None:
        early += [*lost_writes(module, history), *never_written(module, history)]
    with preserved(module), torch.no_grad():
        graph = capture(module, first_batch(batches).owned_by(module))
    weights = weigh(module, graph, recipe=recipe)
    found = {(misfit.weight, misfit.kind): misfit for misfit in (*early, *_identical(weights))}
    scaled = {weight.due for weight in weights if "residual_writer" in weight.roles}
    known = {misfit.weight for misfit in early}
    for weight in weights:
        misfit = None if weight.name in known else _judged(weight, scaled=scaled)
        if history is not None and weight.name not in known:
            misfit = _doubly_set(weight, module, history) or misfit
        if misfit is not None:
            found[misfit.weight, misfit.kind] = misfit
    if history is not None:
        values = {weight.name: weight.values for weight in weights}
        found |= {(misfit.weight, misfit.kind): misfit for misfit in no_op_truncation(values, history)}
    if truncated is not None:
        found |= {(misfit.weight, misfit.kind): misfit for misfit in _untruncated(weights, bound=truncated)}
    return tuple(found.values())


def _built(factory: Callable[[], nn.Module]) -> tuple[nn.Module, History]:
    with History() as history:
        model = factory()
    if not isinstance(model, nn.Module):
        raise ModelError(f"audit: wanted a model or a function that returns one, got {type(model).__name__} from it.")
    return model, history


def _doubly_set(weight: Weighed, model: nn.Module, history: History) -> Misfit | None:
    owners = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))

    def fits(std: float) -> bool:
        return std > 0 and replace(weight, std=std).is_near(weight.due)

    def alike(one: float, other: float) -> bool:
        return replace(weight, std=one).is_near(other)

    why = drawn_again(
        weight.name, weight.stored, history, fits=fits, alike=alike, owners=owners[id(weight.stored)],
    )  # fmt: skip
    message = f"{weight.name}: {why}; {weight.due:.4g} is due."
    return (
        Misfit(weight=weight.name, kind="doubly-set", message=message, value=weight.std, expected=weight.due)
        if why
        else None
    )


def _judged(weight: Weighed, *, scaled: set[float]) -> Misfit | None:
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
    elif (groups := _groups(weight)) > 1 and weight.is_near(weight.due / math.sqrt(groups)):
        kind, why = "fan-of-all-groups", f"too small by √{groups}: an output reads its own group, not all {groups}"
    elif any(weight.is_near(weight.due * math.sqrt(parts)) for parts in _SHARDS):
        parts = round(weight.ratio**2)
        kind, why = "fan-of-a-shard", f"too large by √{parts}, as if the fan were that of one of {parts} shards"
    else:
        kind, why = "off-recipe", f"off by × {weight.ratio:.3g}"
    message = f"{weight.name}: {why} ({numbers})."
    return Misfit(weight=weight.name, kind=kind, message=message, value=weight.std, expected=weight.due)


def _groups(weight: Weighed) -> int:
    groups = weight.call.attributes.get("groups", 1)
    return groups if isinstance(groups, int) else 1


def _is_default(weight: Weighed) -> bool:
    """As `reset_parameters` leaves it: U(±1/√fan_in) of Linear and convolutions, N(0, 1) of Embedding."""
    if weight.call.kind == "embedding":
        return weight.is_near(1.0)
    out, rest = weight.values.shape[0], weight.values[0].numel()
    bound = 1 / math.sqrt(rest) if out else 0.0
    return bool(weight.values.abs().max() <= bound * (1 + 1e-6)) and weight.is_near(bound / math.sqrt(3))


def _identical(weights: list[Weighed]) -> Iterator[Misfit]:
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


def _untruncated(weights: list[Weighed], *, bound: float) -> Iterator[Misfit]:
    for weight in weights:
        beyond = float((weight.values.abs() > bound * weight.std * (1 + SLACK)).double().mean())
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

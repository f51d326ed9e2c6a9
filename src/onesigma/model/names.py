"""Canonical names: one per module, parameter and buffer, whatever the model is wrapped in."""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from onesigma._errors import ModelError
from onesigma.numbers.keys import TRANSPARENT, canonical_name, without_parametrization

__all__ = ["canonical_name", "module_names", "parameter_names", "tensor_names", "tied_names", "unwrapped"]

# Containers that hold the real module under `.module`; by class name, so that no distributed package is imported.
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "AveragedModel", "FullyShardedDataParallel"})


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside `torch.compile`, DataParallel and DistributedDataParallel.

    Raises:
        ModelError: It is no module.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(layer)) is layer
        True
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"Wanted an nn.Module, got a {type(model).__name__}; wrap a function in a module's forward.")
    while True:
        if isinstance(model, torch.jit.ScriptModule):
            return model  # is in no wrapper, and holds its parts in no dict
        inner = model._modules.get("_orig_mod")
        if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = model._modules.get("module")
        if inner is None:
            return model
        model = inner


def module_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every module and its first canonical path; "" is the model itself."""
    names: dict[nn.Module, str] = {}
    for module, path in _walk(model, path=""):
        names.setdefault(module, path)
    return names


def tensor_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter, then every buffer, by canonical name; a tied tensor has its first name only."""
    modules = module_names(model)
    return _named(modules, kind="_parameters") | _named(modules, kind="_buffers")


def parameter_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter by canonical name; a tied parameter has its first name only.

    Example:
        >>> model = nn.DataParallel(nn.Linear(2, 3))
        >>> list(parameter_names(model))
        ['weight', 'bias']
    """
    return _named(module_names(model), kind="_parameters")


def tied_names(model: nn.Module) -> dict[str, str]:
    """Of every parameter that stands under two names: the first → the second."""
    names: dict[int, list[str]] = {}
    for module, path in _walk(model, path=""):
        for name, tensor in module._parameters.items():
            if tensor is not None:
                names.setdefault(id(tensor), []).append(_joined(path, name))
    found = {id(tensor): list(dict.fromkeys(names[id(tensor)])) for tensor in model.parameters()}
    return {first: second for first, second, *_ in (each for each in found.values() if len(each) > 1)}


def _named(modules: Mapping[nn.Module, str], *, kind: str) -> dict[str, torch.Tensor]:
    seen: set[int] = set()
    found: dict[str, torch.Tensor] = {}
    for module, path in modules.items():
        for name, tensor in getattr(module, kind).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found[_joined(path, name)] = tensor
    return found


def _joined(path: str, name: str) -> str:
    # Wrappers are already left out by what they are; a user's own "module" is a name like any other.
    return without_parametrization(f"{path}.{name}" if path else name)


def _walk(module: nn.Module, *, path: str) -> Iterator[tuple[nn.Module, str]]:
    yield module, path
    for name, child in module._modules.items():
        if child is None:
            continue
        hidden = name in TRANSPARENT or (name == "module" and type(module).__name__ in _WRAPPERS)
        yield from _walk(child, path=path if hidden else f"{path}.{name}" if path else name)

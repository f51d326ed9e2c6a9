"""Canonical names: one per module, parameter and buffer, whatever the model is wrapped in."""

import re
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["canonical_name", "module_names", "parameter_names", "tensor_names", "unwrapped"]

# Containers that hold the real module under `.module`; by class name, so that no distributed package is imported.
_WRAPPERS = frozenset({"DataParallel", "DistributedDataParallel", "AveragedModel", "FullyShardedDataParallel"})
_TRANSPARENT = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_ORIGINAL = re.compile(r"parametrizations\.([^.]+)\.original(?=\d*$)(\d*)")


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module inside `torch.compile`, DataParallel and DistributedDataParallel.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> unwrapped(nn.DataParallel(layer)) is layer
        True
    """
    while True:
        inner = model._modules.get("_orig_mod")
        if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = model._modules.get("module")
        if inner is None:
            return model
        model = inner


def canonical_name(name: str) -> str:
    """A name as `named_parameters` gives it, without the segments that wrappers and parametrizations add.

    Example:
        >>> canonical_name("_orig_mod.fc.parametrizations.weight.original")
        'fc.weight'
        >>> canonical_name("fc.parametrizations.weight.original1")
        'fc.weight.original1'
    """
    kept = ".".join(part for part in name.split(".") if part not in _TRANSPARENT)
    return _ORIGINAL.sub(lambda found: found[1] + (f".original{found[2]}" if found[2] else ""), kept)


def module_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every module and its first canonical path; "" is the model itself."""
    names: dict[nn.Module, str] = {}
    for module, path in _walk(model, path=""):
        names.setdefault(module, path)
    return names


def tensor_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter, then every buffer, by canonical name; a tied tensor has its first name only."""
    return parameter_names(model) | _named(model, kind="_buffers")


def parameter_names(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter by canonical name; a tied parameter has its first name only.

    Example:
        >>> model = nn.DataParallel(nn.Linear(2, 3))
        >>> list(parameter_names(model))
        ['weight', 'bias']
    """
    return _named(model, kind="_parameters")


def _named(model: nn.Module, *, kind: str) -> dict[str, torch.Tensor]:
    seen: set[int] = set()
    found: dict[str, torch.Tensor] = {}
    for module, path in module_names(model).items():
        for name, tensor in getattr(module, kind).items():
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                found[canonical_name(f"{path}.{name}" if path else name)] = tensor
    return found


def _walk(module: nn.Module, *, path: str) -> Iterator[tuple[nn.Module, str]]:
    yield module, path
    for name, child in module._modules.items():
        if child is None:
            continue
        hidden = name in _TRANSPARENT or (name == "module" and type(module).__name__ in _WRAPPERS)
        yield from _walk(child, path=path if hidden else f"{path}.{name}" if path else name)

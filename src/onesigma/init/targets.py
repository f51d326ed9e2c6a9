"""Where a new weight is written to: a plain parameter, a slice of one, or a parametrized weight through its inverse."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from onesigma.init.through import through, through_hook, through_scale
from onesigma.model.capture import Site
from onesigma.model.names import module_names, parameter_names

__all__ = ["Owners", "Taken", "Target", "find_target"]

_FROZEN = "frozen: requires_grad is False"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One weight that may be written.

    Attributes:
        name: Canonical name of the weight; a slice of a packed one carries its offset: "attn.in_proj_weight[256]".
        value: The weight as the running call reads it.
        stored: The parameters behind it.
        write: Stores a new value, and puts it into `value`. Raises `ValueError` where the parametrization refuses it.
    """

    name: str
    value: torch.Tensor
    stored: tuple[nn.Parameter, ...]
    write: Callable[[torch.Tensor], None]

    def scale(self, factor: float) -> None:
        """Multiply what was written. Raises `ValueError` where the parametrization refuses it."""
        if self.value is self.stored[0] or self.value._base is self.stored[0]:
            self.value.mul_(factor)
        else:
            self.write(self.value * factor)


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns what in a model: every module and every parameter by canonical name."""

    modules: Mapping[str, nn.Module]
    parameters: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> "Owners":
        """The names of `model`."""
        return cls({name: module for module, name in module_names(model).items()}, parameter_names(model))


def find_target(site: Site, owners: Owners, *, role: str = "weight") -> Target | str:
    """The target of one role of a call ("weight", "weight_ih_l0", …), or why there is none."""
    value = site.weights[role]
    if isinstance(value, nn.Parameter):
        return _plain(site.call.parameters[role], value) if value.requires_grad else _FROZEN
    names = site.call.origins.get(role, ())
    stored = tuple(p for name in names if isinstance(p := owners.parameters.get(name), nn.Parameter))
    if not stored:
        return "the weight is no parameter"
    if not all(parameter.requires_grad for parameter in stored):
        return _FROZEN
    if len(names) == 1 and value._base is stored[0]:
        # A view of the whole keeps its name; a part of a packed weight is a weight of its own.
        part = "" if value.numel() == stored[0].numel() else f"[{value.storage_offset()}]"
        return _plain(f"{names[0]}{part}", value, parameter=stored[0])
    name = re.sub(r"\.original\d*$", "", names[0])
    path, _, attribute = name.rpartition(".")
    owner = owners.modules.get(path)
    if owner is not None and parametrize.is_parametrized(owner, attribute):
        return Target(name=name, value=value, stored=stored, write=through(owner, attribute, value))
    write = through_hook(owner, stored, value) or (through_scale(stored[0], value) if len(names) == 1 else None)
    if write is not None:
        return Target(name=site.call.parameters[role], value=value, stored=stored, write=write)
    return f"the weight is computed from {', '.join(names)}, which have no inverse to write through"


def _plain(name: str, value: torch.Tensor, *, parameter: nn.Parameter | None = None) -> Target:
    stored = parameter if parameter is not None else value
    assert isinstance(stored, nn.Parameter)
    return Target(name=name, value=value, stored=(stored,), write=lambda new: _copy(value, new))


def _copy(value: torch.Tensor, new: torch.Tensor) -> None:
    value.copy_(new)


class Taken:
    """Which values of which parameters have been set, so that nothing is set twice through another view.

    Example:
        >>> weight, taken = nn.Parameter(torch.ones(4, 2)), Taken()
        >>> rows = [Target(name="w", value=part, stored=(weight,), write=print) for part in (weight[:2], weight[2:])]
        >>> taken.add(rows[0], by="first")
        >>> taken.by(rows[0]), taken.by(rows[1])
        ('first', '')
    """

    def __init__(self) -> None:
        self._by: dict[object, str] = {}
        self._parts: dict[object, torch.Tensor] = {}

    def by(self, target: Target) -> str:
        """Who set a part of this target; empty if nobody did."""
        for parameter in target.stored:
            memory, view = _memory(parameter), _view_of(target, parameter)
            if memory in self._parts:
                if bool(_part(self._parts[memory], view).any()):
                    return self._by[memory]
            elif memory in self._by:
                return self._by[memory]
        return ""

    def add(self, target: Target, *, by: str) -> None:
        """This target was set by the call of this name."""
        for parameter in target.stored:
            memory, view = _memory(parameter), _view_of(target, parameter)
            size = _size(parameter)
            self._by[memory] = by
            if view.numel() < size or memory in self._parts:
                taken = torch.zeros(size, dtype=torch.bool, device=parameter.device)
                _part(self._parts.setdefault(memory, taken), view).fill_(True)


def _memory(parameter: torch.Tensor) -> object:
    """Two parameters over one memory, such as a weight and its transpose, are set once."""
    return parameter if _is_wrapper(parameter) else parameter.untyped_storage()._cdata


def _size(parameter: torch.Tensor) -> int:
    if _is_wrapper(parameter):
        return parameter.numel()
    return parameter.untyped_storage().nbytes() // parameter.element_size()


def _is_wrapper(parameter: torch.Tensor) -> bool:
    """A tensor whose values lie in others, such as DTensor or a quantized weight."""
    return type(parameter) not in (torch.Tensor, nn.Parameter) or parameter.layout != torch.strided


def _view_of(target: Target, parameter: nn.Parameter) -> torch.Tensor:
    return target.value if target.value._base is parameter else parameter


def _part(whole: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    return whole.as_strided(view.size(), view.stride(), view.storage_offset())

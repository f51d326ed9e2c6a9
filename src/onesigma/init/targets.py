"""Where a new weight is written to: a plain parameter, a slice of one, or a parametrized weight through its inverse."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from onesigma.model.capture import Site
from onesigma.model.names import module_names, parameter_names

__all__ = ["Owners", "Target", "find_target"]


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
        return _plain(site.call.parameters[role], value) if value.requires_grad else "frozen: requires_grad is False"
    names = site.call.origins.get(role, ())
    stored = tuple(p for name in names if isinstance(p := owners.parameters.get(name), nn.Parameter))
    if not stored:
        return "the weight is no parameter"
    if not all(parameter.requires_grad for parameter in stored):
        return "frozen: requires_grad is False"
    if len(names) == 1 and value._base is stored[0]:
        return _plain(f"{names[0]}[{value.storage_offset()}]", value, parameter=stored[0])
    name = re.sub(r"\.original\d*$", "", names[0])
    path, _, attribute = name.rpartition(".")
    owner = owners.modules.get(path)
    if owner is not None and parametrize.is_parametrized(owner, attribute):
        return Target(name=name, value=value, stored=stored, write=_through(owner, attribute, value))
    return f"the weight is computed from {', '.join(names)}, which have no inverse to write through"


def _plain(name: str, value: torch.Tensor, *, parameter: nn.Parameter | None = None) -> Target:
    stored = parameter if parameter is not None else value
    assert isinstance(stored, nn.Parameter)
    return Target(name=name, value=value, stored=(stored,), write=lambda new: _copy(value, new))


def _copy(value: torch.Tensor, new: torch.Tensor) -> None:
    value.copy_(new)


def _through(owner: nn.Module, attribute: str, value: torch.Tensor) -> Callable[[torch.Tensor], None]:
    """Writes through `right_inverse`, and makes sure that the weight is then what was written."""

    def write(new: torch.Tensor) -> None:
        try:
            setattr(owner, attribute, new.to(value.dtype))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise ValueError(f"its parametrization takes no such weight ({error})") from error
        kept = getattr(owner, attribute)
        # A normalizing parametrization (spectral, orthogonal) gives back another weight than was written.
        if not torch.allclose(kept, new.to(kept.dtype), rtol=1e-3, atol=1e-6):
            raise ValueError("its parametrization normalizes what is written")
        value.copy_(kept)

    return write

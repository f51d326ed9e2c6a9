"""Optimizer state from before a change of the parameters: it loads afterwards, as checkpoints of the model do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import torch
from torch import nn

__all__ = ["OldState", "keep_loading", "listed"]

_Groups = Sequence[Sequence[torch.Tensor]]
_Shapes = tuple[tuple[torch.Size, ...], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class OldState:
    """A pre-hook of `Optimizer.load_state_dict`: a state dict from before the change is renumbered for what is now.

    A state dict knows parameters by their position alone. What is kept of each stays with its parameter; of a parameter
    that is gone it is dropped, and a new one begins without.

    Attributes:
        before: The shapes of the parameters, group by group.
        sizes: The number of parameters of each group after the change.
        places: Position before → position after, over all groups; a parameter that is gone is not in it.
    """

    before: _Shapes
    sizes: tuple[int, ...]
    places: Mapping[int, int]

    def __call__(self, optimizer: torch.optim.Optimizer, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """The state dict for the present parameters; None, which leaves it, if it is not of those before."""
        if _fits(state_dict, _shapes(listed(optimizer))) or not _fits(state_dict, self.before):
            return None
        keys = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        moved = {key: self.places[place] for place, key in enumerate(keys) if place in self.places}
        state = {moved[key]: value for key, value in state_dict["state"].items() if key in moved}
        starts = accumulate(self.sizes, initial=0)
        groups = [
            _numbered(group, range(start, start + size))
            for group, start, size in zip(state_dict["param_groups"], starts, self.sizes, strict=False)
        ]
        return {**state_dict, "state": state, "param_groups": groups}


def listed(optimizer: torch.optim.Optimizer | None) -> tuple[tuple[nn.Parameter, ...], ...]:
    """The parameters that an optimizer trains, group by group."""
    return () if optimizer is None else tuple(tuple(group["params"]) for group in optimizer.param_groups)


def keep_loading(optimizer: torch.optim.Optimizer | None, before: _Groups, *, model: nn.Module) -> Callable[[], None]:
    """Let state dicts from when the parameters were those of `before` load; return the way back."""
    after = listed(optimizer)
    if optimizer is None or [[*map(id, group)] for group in after] == [[*map(id, group)] for group in before]:
        return lambda: None
    now = {id(parameter): place for place, parameter in enumerate(chain.from_iterable(after))}
    places = {
        place: now[id(parameter)] for place, parameter in enumerate(chain.from_iterable(before)) if id(parameter) in now
    }
    hook = OldState(before=_shapes(before), sizes=tuple(map(len, after)), places=places)
    handle = optimizer.register_load_state_dict_pre_hook(hook)
    restore_names = _renamed(optimizer, before, model=model)

    def restore() -> None:
        handle.remove()
        restore_names()

    return restore


def _renamed(optimizer: torch.optim.Optimizer, before: _Groups, *, model: nn.Module) -> Callable[[], None]:
    """Let the groups of an optimizer that was given names have one for every parameter; return the way back."""
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    saved = [(group, group["param_names"]) for group in optimizer.param_groups if "param_names" in group]
    for group, parameters in zip(optimizer.param_groups, before, strict=True):
        if "param_names" in group:
            old = {id(parameter): name for parameter, name in zip(parameters, group["param_names"], strict=True)}
            group["param_names"] = [old.get(id(known), named.get(id(known), "")) for known in group["params"]]

    def restore() -> None:
        for group, names in saved:
            group["param_names"] = names

    return restore


def _numbered(group: Mapping[str, Any], numbers: range) -> dict[str, Any]:
    """A group of a state dict with other parameters; the names that it had of them are those of the old ones."""
    return {**{key: value for key, value in group.items() if key != "param_names"}, "params": list(numbers)}


def _shapes(groups: _Groups) -> _Shapes:
    return tuple(tuple(parameter.shape for parameter in group) for group in groups)


def _fits(state_dict: Mapping[str, Any], shapes: _Shapes) -> bool:
    """It has as many parameters in each group, and what it keeps of each has its shape, or some of the sizes in it."""
    groups = state_dict["param_groups"]
    if [len(group["params"]) for group in groups] != [len(group) for group in shapes]:
        return False
    keys = chain.from_iterable(group["params"] for group in groups)
    return all(
        _is_part(value.shape, shape)
        for key, shape in zip(keys, chain.from_iterable(shapes), strict=True)
        for value in state_dict["state"].get(key, {}).values()
        if isinstance(value, torch.Tensor)
    )


def _is_part(sizes: torch.Size, shape: torch.Size) -> bool:
    """Whether `sizes` are those of `shape` in order, with gaps: optimizers keep rows and columns, or one number."""
    left = iter(shape)
    return all(size == 1 or size in left for size in sizes)

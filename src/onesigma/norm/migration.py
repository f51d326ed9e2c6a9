"""What follows a change of a model's parameters: keys of old checkpoints, and the optimizer."""

import warnings
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from onesigma._errors import OnesigmaWarning

__all__ = ["InsertedNorm", "StrippedBias", "adopt", "forget", "tell_of_reducer", "undo_all"]

_StateDict = MutableMapping[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class InsertedNorm:
    """A `load_state_dict` pre-hook: lets checkpoints from before a norm was inserted load after it.

    Keys of a layer that was wrapped get their new names, the norm keeps what it has, and a bias b that the layer lost
    is taken out of `running_mean` instead, so that the norm does to the old layer what it does to the present one.

    Attributes:
        norm: Path of the norm from the module that the hook is on.
        layer: Path of the layer, before.
        now: Path of the layer, after.
        removed: The bias that the layer lost; None if it has what it had.
    """

    norm: str
    layer: str
    now: str
    removed: torch.Tensor | None = field(default=None, repr=False)

    def __call__(self, module: nn.Module, state_dict: _StateDict, prefix: str, *_: Any) -> None:
        """Rewrite the keys of a state dict in place, if it has none of the norm's."""
        norm = prefix + self.norm + "."
        if any(key.startswith(norm) for key in state_dict):
            return
        if self.now != self.layer:
            old = prefix + self.layer + "."
            for key in [key for key in state_dict if key.startswith(old)]:
                state_dict[prefix + self.now + "." + key.removeprefix(old)] = state_dict.pop(key)
        for key, value in module.get_submodule(self.norm).state_dict().items():
            state_dict[norm + key] = value.clone() if isinstance(value, torch.Tensor) else value
        bias = None if self.removed is None else state_dict.pop(f"{prefix}{self.now}.bias", None)
        if bias is not None and self.removed is not None and norm + "running_mean" in state_dict:
            change = self.removed.to(bias.device).double() - bias.double()
            state_dict[norm + "running_mean"] = _moved(state_dict[norm + "running_mean"], change)


@dataclass(frozen=True, eq=False, kw_only=True)
class StrippedBias:
    """A `load_state_dict` pre-hook: a checkpoint that still has the bias loads with `running_mean` −= bias.

    Attributes:
        bias: Key of the bias from the module that the hook is on.
        means: Keys of the running means that it is taken out of.
    """

    bias: str
    means: tuple[str, ...]

    def __call__(self, module: nn.Module, state_dict: _StateDict, prefix: str, *_: Any) -> None:
        """Rewrite the keys of a state dict in place, if it has the bias."""
        bias = state_dict.pop(prefix + self.bias, None)
        for key in self.means if bias is not None else ():
            if prefix + key in state_dict:
                state_dict[prefix + key] = _moved(state_dict[prefix + key], -bias.double())


def adopt(
    optimizer: torch.optim.Optimizer | None, parameters: Iterable[nn.Parameter], *, beside: Iterable[Any]
) -> Callable[[], None]:
    """Let an optimizer train new parameters, in the group of the first of `beside` that it has; return the way back."""
    if optimizer is None:
        return lambda: None
    groups = (
        group
        for known in beside
        for group in optimizer.param_groups
        if any(other is known for other in group["params"])
    )
    group, added = next(groups, optimizer.param_groups[0]), list(parameters)
    group["params"].extend(added)

    def restore() -> None:
        for parameter in added:
            places = [i for i, other in enumerate(group["params"]) if other is parameter]
            for i in places:
                del group["params"][i]
            optimizer.state.pop(parameter, None)

    return restore


def forget(optimizer: torch.optim.Optimizer | None, parameter: nn.Parameter) -> Callable[[], None]:
    """Take a parameter out of an optimizer's groups and state; return the way back."""
    if optimizer is None:
        return lambda: None
    places = [
        (group, position)
        for group in optimizer.param_groups
        for position, other in enumerate(group["params"])
        if other is parameter
    ]
    for group, position in places:
        del group["params"][position]
    state = optimizer.state.pop(parameter, None)
    waiting = [True]

    def restore() -> None:
        if not waiting:
            return
        waiting.clear()
        for group, position in places:
            group["params"].insert(position, parameter)
        if state is not None:
            optimizer.state[parameter] = state

    return restore


def tell_of_reducer(model: nn.Module, action: str) -> None:
    """Warn where ranks go on to exchange gradients of the parameters that were there before.

    Warns:
        OnesigmaWarning: The model is wrapped in DistributedDataParallel.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        warnings.warn(
            f"{action} changed the parameters of a model in DistributedDataParallel, whose ranks exchange gradients "
            "of those that were there when it was wrapped; wrap model.module anew before it trains.",
            OnesigmaWarning,
            stacklevel=3,
        )


def undo_all(steps: Iterable[Callable[[], None]]) -> None:
    """Go all the way back, last step first."""
    for step in reversed(list(steps)):
        step()


def _moved(mean: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """In float64, so that the sum is rounded once."""
    return (mean.double() + change.to(mean.device)).to(mean.dtype)

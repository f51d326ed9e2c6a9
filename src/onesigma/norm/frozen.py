"""`freeze_` and `unfreeze_`: BatchNorm layers that stay in eval mode whatever mode the model is put into."""

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Self

from torch import nn
from torch.nn.parameter import is_lazy

from onesigma._errors import ConfigError
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import unwrapped
from onesigma.norm.statistics import BatchNorm, batch_norms
from onesigma.norm.variants import Variant, become_, noticed, shed_

__all__ = ["Frozen", "freeze_", "unfreeze_"]


class Frozen(Variant, BatchNorm):
    """What a frozen BatchNorm is besides what it was: deaf to `train()`, which it only remembers.

    Attributes:
        thaw: What each `freeze_` found: `requires_grad` of weight and bias, innermost last.
        wanted_mode: The mode that the model last asked for, taken up again by `unfreeze_`.
    """

    outer = True
    attributes = ("thaw", "wanted_mode")
    thaw: tuple[dict[str, bool], ...]
    wanted_mode: bool

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        self.wanted_mode = mode
        return super().train(False)

    def put_off(self) -> None:
        """Thaw, however often it was frozen."""
        while isinstance(self, Frozen):
            _thaw(self)


def freeze_(model: nn.Module, *, layers: Collection[str] | None = None, affine: bool = True) -> Edits:
    """Freeze BatchNorm layers: running statistics normalize and never move, also after `model.train()`.

    A frozen layer computes (x − running_mean)/√(running_var + eps)·γ + β in both modes. It keeps its class as a base,
    its hooks, buffers, momentum and counters; no key of the state dict changes. Freezing is counted: what was frozen
    twice is free after two `unfreeze_`.

    Args:
        model: Any module; changed in place.
        layers: Names or patterns of BatchNorm layers; all if None.
        affine: Also stop training of γ and β.

    Raises:
        ConfigError: A pattern that fits no BatchNorm.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> _ = freeze_(model)
        >>> model.train()[1].training
        False
        >>> _ = unfreeze_(model)
        >>> model[1].training, type(model[1]).__name__
        (True, 'BatchNorm1d')
    """
    edits = Edits()
    for name, norm in _chosen(model, layers=layers, action="freeze_").items():
        if any(map(is_lazy, norm.parameters(recurse=False))):
            reason = "it has no shape yet; run one batch through the model first"
            edits += Edits((Edit(layer=name, action="freeze", applied=False, reason=reason),))
        elif norm.running_mean is None:
            reason = "it keeps no running statistics, so there is nothing to freeze it at"
            edits += Edits((Edit(layer=name, action="freeze", applied=False, reason=reason),))
        else:
            edits += Edits((Edit(layer=name, action="freeze"),), (_freeze(norm, affine=affine),))
    return noticed(edits, "freeze_", stacklevel=3)


def unfreeze_(model: nn.Module, *, layers: Collection[str] | None = None) -> Edits:
    """Undo one `freeze_`: class, mode and `requires_grad` are again what they would be without it.

    Args:
        model: Any module; changed in place.
        layers: Names or patterns of BatchNorm layers; all if None.

    Raises:
        ConfigError: A pattern that fits no BatchNorm.
    """
    edits = Edits()
    for name, norm in _chosen(model, layers=layers, action="unfreeze_").items():
        if isinstance(norm, Frozen):
            edits += Edits((Edit(layer=name, action="unfreeze"),), (_unfreeze(norm),))
    return noticed(edits, "unfreeze_", stacklevel=3)


def _freeze(norm: BatchNorm, *, affine: bool) -> Callable[[], None]:
    found = {name: parameter.requires_grad for name, parameter in norm.named_parameters(recurse=False) if affine}
    if not isinstance(norm, Frozen):
        become_(norm, Frozen, thaw=())
        assert isinstance(norm, Frozen)
        norm.train(norm.training)
    norm.thaw = (*norm.thaw, found)
    for name in found:
        norm.get_parameter(name).requires_grad_(False)
    return lambda: _thaw(norm)


def _unfreeze(norm: Frozen) -> Callable[[], None]:
    before = {name: parameter.requires_grad for name, parameter in norm.named_parameters(recurse=False)}
    affine = bool(norm.thaw[-1])
    _thaw(norm)

    def restore() -> None:
        _freeze(norm, affine=affine)
        for name, trainable in before.items():
            norm.get_parameter(name).requires_grad_(trainable)

    return restore


def _thaw(norm: nn.Module) -> None:
    """One level less; nothing where none is left."""
    if not isinstance(norm, Frozen):
        return
    found, norm.thaw = norm.thaw[-1], norm.thaw[:-1]
    for name, trainable in found.items():
        norm.get_parameter(name).requires_grad_(trainable)
    if not norm.thaw:
        mode = norm.wanted_mode
        shed_(norm, Frozen)
        norm.train(mode)


def _chosen(model: nn.Module, *, layers: Collection[str] | None, action: str) -> dict[str, BatchNorm]:
    norms = batch_norms(unwrapped(model))
    for pattern in layers or ():
        if not any(fnmatchcase(name, pattern) for name in norms):
            raise ConfigError(f"{action}: no BatchNorm is called {pattern!r}; there are {', '.join(norms) or 'none'}.")
    chosen = layers if layers is not None else ("*",)
    return {name: norm for name, norm in norms.items() if any(fnmatchcase(name, pattern) for pattern in chosen)}

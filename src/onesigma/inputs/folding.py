"""Fold input statistics into the first layer, with a certificate, or refuse with a reason."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onesigma._errors import ModelError
from onesigma.inputs.affine import Affine
from onesigma.inputs.fold import Doubles, FoldBound, fold_bound, fold_weights, slope_and_offset
from onesigma.model.edits import Edit, Edits

__all__ = ["HasAffine", "fold_into_"]

_Foldable: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
_FOLDABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTION = "fold input statistics"


class HasAffine(Protocol):
    """A fitted scaler, or a layer of statistics."""

    @property
    def affine(self) -> Affine:
        """The map of the inputs."""


def fold_into_(layer: nn.Module, scaler: HasAffine, *, tolerance: float = 1e-4, name: str = "") -> Edits:
    """Let a Linear or convolution take raw input: W ← W/s, b ← b − (W/s)·m, in place; or refuse.

    Afterwards the model must be fed without the scaler. A missing bias is made where the map needs one.

    Args:
        layer: The first layer; its inputs, or input channels, are the scaler's columns.
        scaler: A fitted scaler, or its layer.
        tolerance: Largest error that folding may add, relative to the std of the output; see `FoldBound.relative`.
        name: The layer's name, for the edit.

    Returns:
        One edit, whose `error` is the certified bound; or one refusal (clip, zero padding, error above tolerance, …).

    Raises:
        ModelError: The layer does not have one input per column.

    Example:
        >>> from onesigma.inputs import StandardScaler
        >>> layer, scaler = nn.Linear(1, 1), StandardScaler().fit([[1.0], [3.0]])
        >>> _ = layer.weight.data.fill_(1.0), layer.bias.data.fill_(0.0)
        >>> fold_into_(layer, scaler)[0].applied, layer(torch.tensor([[5.0]])).item()
        (True, 3.0)
    """
    affine = scaler.affine
    reason = _why_not(layer, affine)
    if reason:
        return _refused(name, reason)
    assert isinstance(layer, _FOLDABLE)
    weight = _weight_by_column(layer, num_columns=len(affine.scale), name=name)
    bound = fold_bound(weight, affine=affine, roundoff=torch.finfo(layer.weight.dtype).eps / 2)
    if not bound.relative <= tolerance:
        return _refused(name, _too_inexact(bound, tolerance=tolerance), error=bound.relative)
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().double().cpu().numpy()
    folded_weight, folded_bias = fold_weights(weight, bias, affine=affine)
    new_weight = _as_weight(folded_weight, layer)
    new_bias = torch.from_numpy(folded_bias).to(layer.weight)
    if not _normal(new_weight, folded_weight) or not new_bias.isfinite().all():
        return _refused(name, f"a folded weight is out of the range of {layer.weight.dtype}; keep the scaler")
    note = "a bias was added" if layer.bias is None and bool(new_bias.any()) else ""
    edit = Edit(layer=name, action=_ACTION, error=bound.relative, reason=note)
    return Edits((edit,), (_write(layer, new_weight, new_bias),))


def _refused(name: str, reason: str, *, error: float | None = None) -> Edits:
    return Edits((Edit(layer=name, action=_ACTION, applied=False, error=error, reason=reason),))


def _why_not(layer: nn.Module, affine: Affine) -> str:
    """Why folding would be wrong, whatever the numbers; empty if it would not."""
    if parametrize.is_parametrized(layer) or layer._forward_pre_hooks or layer._forward_hooks:
        return "its weight is computed anew at every call (a parametrization or a hook)"
    if type(layer) not in _FOLDABLE:
        return f"a {type(layer).__name__} is no Linear or convolution whose weight can be folded into"
    weight: Any = layer.weight
    if not weight.is_floating_point() or weight.is_meta:
        return f"its weight holds no real numbers ({weight.dtype} on {weight.device})"
    if affine.clip is not None:
        return "the scaler clips, which no weight can do"
    slope, offset = slope_and_offset(affine)
    if not (np.isfinite(slope).all() and np.isfinite(offset).all()):
        return "a column has no statistics (it held nothing but NaN)"
    if offset.any() and _pads_with_zeros(layer):
        return "it pads with zeros, which would have to become the columns' means"
    return ""


def _pads_with_zeros(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return False
    if layer.padding == "same":
        return any(size > 1 for size in layer.kernel_size)  # type: ignore[union-attr]
    return layer.padding != "valid" and any(layer.padding)  # type: ignore[arg-type]


def _weight_by_column(layer: _Foldable, *, num_columns: int, name: str) -> Doubles:
    """The weight as (out, F, K) with a zero where a group does not read a column."""
    wanted = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    if wanted != num_columns:
        raise ModelError(
            f"{name or type(layer).__name__}: wanted one input per column, got {wanted} inputs "
            f"and {num_columns} columns; fold into the layer that reads the columns, or select() those that it reads."
        )
    weight = layer.weight.detach().double().cpu().numpy()
    weight = weight.reshape(len(weight), weight.shape[1], -1)
    wide = np.zeros((len(weight), num_columns, weight.shape[2]))
    for outputs, inputs in _groups(layer):
        wide[outputs, inputs] = weight[outputs]
    return wide


def _as_weight(wide: Doubles, layer: _Foldable) -> Tensor:
    """Inverse of `_weight_by_column`, in the dtype of the layer."""
    narrow = np.concatenate([wide[outputs, inputs] for outputs, inputs in _groups(layer)])
    return torch.from_numpy(narrow).reshape(layer.weight.shape).to(layer.weight)


def _groups(layer: _Foldable) -> Iterator[tuple[slice, slice]]:
    """The outputs of each group and the inputs that they read."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    num_out, num_in = layer.weight.shape[0] // groups, layer.weight.shape[1]
    for group in range(groups):
        yield slice(group * num_out, (group + 1) * num_out), slice(group * num_in, (group + 1) * num_in)


def _normal(weight: Tensor, exact: Doubles) -> bool:
    """Whether every weight was rounded with the relative error that the bound assumes."""
    tiny = torch.finfo(weight.dtype).tiny
    return bool(weight.isfinite().all()) and not bool(((exact != 0) & (np.abs(exact) < tiny)).any())


def _too_inexact(bound: FoldBound, *, tolerance: float) -> str:
    worst = int(np.argmax(bound.columns))
    return (
        f"folding may add {bound.relative:.1e} of the output's std, above the tolerance {tolerance:.1e}; "
        f"most of it by column {worst}, whose mean is {bound.ratios[worst]:.0f} stds from zero"
    )


def _write(layer: _Foldable, weight: Tensor, bias: Tensor) -> Callable[[], None]:
    """Put the folded numbers in, keeping the parameters; return what puts the old ones back."""
    old_weight = layer.weight.detach().clone()
    old_bias = None if layer.bias is None else layer.bias.detach().clone()

    def undo() -> None:
        with torch.no_grad():
            layer.weight.copy_(old_weight)
            if old_bias is None or layer.bias is None:
                layer.bias = None
            else:
                layer.bias.copy_(old_bias)

    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias)
        elif bias.any():
            layer.bias = nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
    return undo

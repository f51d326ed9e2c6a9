"""What a norm in eval mode is: an affine map per channel, read from its statistics or found by a probe."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onesigma.norm.ghost import GhostBatchNorm
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.masked import MaskedBatchNorm1d
from onesigma.norm.renorm import BatchRenorm
from onesigma.norm.sync import SyncBatchNorm
from onesigma.norm.variants import built_type

__all__ = ["Affine", "affine_of", "is_norm", "is_subclass", "keeps_statistics", "reason_against_norm", "spread"]

BatchNorm = nn.modules.batchnorm._BatchNorm

# Of these it is known that they normalize and do nothing more.
_PLAIN = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormLast),
    *(BatchRenorm, GhostBatchNorm, MaskedBatchNorm1d, SyncBatchNorm),
)

# So large that a mean of thousands of stds is rounding beside it, and so small that its square is finite.
_FAR = 2.0**60

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """y = scale·x + shift per channel, in float64.

    Attributes:
        scale: (C,) γ/√(running_var + eps).
        shift: (C,) β − running_mean·scale.
        axis: Where the channels lie: 1, or −1.
    """

    scale: Tensor
    shift: Tensor
    axis: int

    def along(self, dimensions: int) -> tuple[Tensor, Tensor]:
        """Scale and shift, to be broadcast against a tensor of so many dimensions."""
        scale = spread(self.scale, axis=self.axis, dimensions=dimensions)
        return scale, spread(self.shift, axis=self.axis, dimensions=dimensions)


def is_norm(module: nn.Module) -> bool:
    """It keeps running statistics, or is a leaf of buffers alone, as a frozen norm or an input layer is."""
    if keeps_statistics(module):
        return True
    foreign = not type(module).__module__.startswith("torch.")
    leaf = not any(True for _ in module.children()) and not any(True for _ in module.parameters(recurse=False))
    return foreign and leaf and any(map(_is_real, module.buffers(recurse=False)))


def is_subclass(norm: nn.Module) -> bool:
    """It is a BatchNorm of a class of which it is not known that it normalizes and does nothing more."""
    # Whatever kinds it took on: they differ in training only.
    return isinstance(norm, BatchNorm) and built_type(norm) not in _PLAIN


def keeps_statistics(module: nn.Module) -> bool:
    """It is a BatchNorm, or what somebody else made of one."""
    names = {name for name, _ in module.named_buffers(recurse=False)}
    return isinstance(module, BatchNorm) or names >= {"running_mean", "running_var"}


def reason_against_norm(norm: nn.Module, *, opened: bool = False) -> str:
    """Why the module itself can be no affine map, whatever surrounds it; empty if it can.

    Args:
        norm: The module.
        opened: Of whatever class it is, a run has shown what it does.
    """
    if norm._forward_hooks or norm._forward_pre_hooks:
        return "a forward hook is attached to it, which would be lost"
    if not isinstance(norm, BatchNorm):
        has_parameters = any(True for _ in norm.parameters())
        return f"a {type(norm).__name__} is no BatchNorm that is known" if has_parameters else ""
    if not opened and is_subclass(norm):
        return (
            f"{type(norm).__name__} is a subclass of BatchNorm and may do more than normalize; "
            f"subclasses=True believes what a run shows"
        )
    if norm.training:
        return "it stays in training mode when the model goes to eval"
    if norm.running_mean is None or norm.running_var is None:
        return "it has no running statistics and uses those of the batch in eval too"
    return ""


def affine_of(norm: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    """The map of a norm in float64 for an input of `shape`; None if it is no finite affine map per channel."""
    affine = _of_statistics(norm) if isinstance(norm, BatchNorm) else _probed(norm, shape)
    if affine is None or not (affine.scale.isfinite().all() and affine.shift.isfinite().all()):
        return None
    return affine


def spread(values: Tensor, *, axis: int, dimensions: int) -> Tensor:
    """(C,) as a tensor that is broadcast along all axes but `axis`."""
    shape = [1] * dimensions
    shape[axis] = -1
    return values.view(shape)


def _of_statistics(norm: BatchNorm) -> Affine:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return Affine(scale=scale, shift=shift, axis=-1 if isinstance(norm, BatchNormLast) else 1)


def _probed(module: nn.Module, shape: tuple[int, ...]) -> Affine | None:
    """Scale and shift from three constant inputs, believed only if they explain a random one too."""
    device = next(module.buffers()).device
    state = [buffer.clone() for buffer in module.buffers()]
    try:
        low, zero, high = (module(torch.full(shape, at, dtype=torch.float64, device=device)) for at in (-_FAR, 0, _FAR))
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator, dtype=torch.float64).to(device) * 1e3
        y = module(x)
    except Exception:  # whatever it is, it is not a map of floats
        return None
    if not all(map(torch.equal, state, module.buffers())):
        return None
    if any(not isinstance(out, Tensor) or out.shape != x.shape for out in (low, zero, high, y)):
        return None
    scale, shift = (high - low) / (2 * _FAR), zero
    if bool(((y - scale * x - shift).abs() > _ROUNDING * ((scale * x).abs() + shift.abs())).any()):
        return None
    for axis in (-1, 1):
        if axis < len(shape):
            channels = [_along(field, axis) for field in (scale, shift)]
            if channels[0] is not None and channels[1] is not None:
                return Affine(scale=channels[0], shift=channels[1], axis=axis)
    return None


def _along(field: Tensor, axis: int) -> Tensor | None:
    """What a field is along `axis`, if it is the same along all others."""
    rows = field.movedim(axis, 0).flatten(1)
    return rows[:, 0].clone() if bool((rows == rows[:, :1]).all()) else None


def _is_real(buffer: Tensor) -> bool:
    return buffer.is_floating_point() and buffer.dim() > 0

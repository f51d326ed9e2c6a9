"""Following channels through reshapes and pools: by running these on channel numbers, not by knowing them."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from onesigma.norm.fold.affine import spread

__all__ = ["Path", "channel_axis", "channels_at_input", "channels_at_output", "commutes"]

Path: TypeAlias = Sequence[Callable[[Tensor], Any]]
"""The calls between a layer and a norm, in order."""

_ROUNDING = 1e-10


def channel_axis(op: str, dimensions: int) -> int:
    """The axis of the channels of a linear layer's or convolution's input and output."""
    return dimensions - 1 - int(op[-2]) if op.startswith("conv") else dimensions - 1


def channels_at_output(
    path: Path, *, shape: tuple[int, ...], axis: int, norm_axis: int
) -> tuple[Tensor | None, tuple[int, ...]]:
    """For every channel of a layer's output of `shape`, which channel of the norm behind `path` it becomes; −1 if none.

    None if that is no function: two channels of the norm are fed by one of the layer.
    """
    if not path and axis == norm_axis % len(shape):
        return torch.arange(shape[axis]), shape
    numbers = _numbers_behind(path, shape=shape, axis=axis)
    if numbers is None or numbers.dim() < 2:
        return None, ()
    norm_channels = spread(torch.arange(numbers.shape[norm_axis]), axis=norm_axis, dimensions=numbers.dim())
    norm_channels = norm_channels.expand_as(numbers)
    found = torch.full((shape[axis],), -1)
    found[numbers.flatten()] = norm_channels.flatten()
    return (found if bool((found[numbers] == norm_channels).all()) else None), tuple(numbers.shape)


def channels_at_input(
    path: Path, *, shape: tuple[int, ...], norm_axis: int, op: str
) -> tuple[Tensor | None, tuple[int, ...]]:
    """For every feature or channel that a layer behind `path` reads, which channel of the norm it comes from.

    None if one feature comes from several.
    """
    if not path and norm_axis % len(shape) == channel_axis(op, len(shape)):
        return torch.arange(shape[norm_axis]), shape
    numbers = _numbers_behind(path, shape=shape, axis=norm_axis)
    if numbers is None:
        return None, ()
    rows = numbers.movedim(channel_axis(op, numbers.dim()), 0).flatten(1)
    return (rows[:, 0] if bool((rows == rows[:, :1]).all()) else None), tuple(numbers.shape)


def commutes(path: Path, *, shape: tuple[int, ...], first: tuple[Tensor, Tensor], last: tuple[Tensor, Tensor]) -> bool:
    """Whether path(s·x + t) = s′·path(x) + t′ for random x, with (s, t) `first` and (s′, t′) `last`.

    True of average pools, of max pools where no scale is negative, of padding by reflection; not of padding with zeros.
    """
    if not path:
        return True
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(first[0].device)
    for size in (1.0, 1e3):
        through, expected = _run(path, first[0] * (size * x) + first[1]), _run(path, size * x)
        if through is None or expected is None:
            return False
        expected = last[0] * expected + last[1]
        if not bool((through - expected).abs().max() <= _ROUNDING * through.abs().max().clamp_min(1e-300)):
            return False
    return True


def _numbers_behind(path: Path, *, shape: tuple[int, ...], axis: int) -> Tensor | None:
    """The numbers 0, 1, … of the channels, sent through the path; None if they do not arrive as such numbers."""
    # From 1 on, so that a zero that the path puts in is no channel.
    numbers = spread(torch.arange(1, shape[axis] + 1, dtype=torch.float64), axis=axis, dimensions=len(shape))
    arrived = _run(path, numbers.expand(shape).contiguous())
    if arrived is None or not arrived.numel():
        return None
    whole = arrived.round()
    if bool(((arrived - whole).abs() > 1e-6).any()) or not (whole.min() >= 1 and whole.max() <= shape[axis]):
        return None
    return whole.long() - 1


def _run(path: Path, x: Tensor) -> Tensor | None:
    try:
        for step in path:
            x = step(x)
    except (RuntimeError, TypeError, ValueError, IndexError):  # cannot be run on its own: then nothing is claimed
        return None
    return x if isinstance(x, Tensor) and x.is_floating_point() else None

"""Fillers without randomness, and the sparse one: constants, identities, identities of convolutions."""

import math
from functools import partial

import torch
from torch import Tensor

from onesigma._errors import ConfigError
from onesigma.init.fillers import normal_
from onesigma.init.writing import Key, Target, held, stream_key, write_, writing
from onesigma.numbers.random import Normal, Uniform, draw

__all__ = ["constant_", "dirac_", "eye_", "ones_", "sparse_", "zeros_"]


def constant_(tensor: Target, val: float) -> Target:
    """Fill with one value, in place; returns what was given.

    Example:
        >>> constant_(torch.empty(2), 0.5)
        tensor([0.5000, 0.5000])
    """
    for weight in writing(tensor):
        with torch.no_grad():
            weight.tensor.fill_(val)
    return tensor


def ones_(tensor: Target) -> Target:
    """Fill with 1, in place; returns what was given.

    Example:
        >>> ones_(torch.empty(2))
        tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Target) -> Target:
    """Fill with 0, in place; returns what was given.

    Example:
        >>> zeros_(torch.empty(2))
        tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def eye_(tensor: Target) -> Target:
    """Fill with the identity matrix, in place: as many inputs are kept as possible.

    Args:
        tensor: A tensor of two axes, or a layer.

    Returns:
        What was given.

    Raises:
        ValueError: As torch: not two axes.

    Example:
        >>> eye_(torch.empty(2, 3))
        tensor([[1., 0., 0.],
                [0., 1., 0.]])
    """
    for weight in writing(tensor):
        if weight.tensor.ndim != 2:
            raise ValueError("Only tensors with 2 dimensions are supported")
        local, (rows, columns) = _local_axes(weight.tensor)
        with torch.no_grad():
            local.copy_(rows[:, None] == columns)
    return tensor


def dirac_(tensor: Target, groups: int = 1) -> Target:
    """Fill a convolution with the identity of its channels, in place: as many are kept as possible, per group.

    Args:
        tensor: A tensor (out, in/groups, *kernel) of three to five axes, or a convolution.
        groups: Groups of channels, each with an identity of its own.

    Returns:
        What was given.

    Raises:
        ValueError: As torch: not three to five axes, or `groups` does not divide the first.

    Example:
        >>> dirac_(torch.empty(2, 2, 3))[:, :, 1]
        tensor([[1., 0.],
                [0., 1.]])
    """
    for weight in writing(tensor):
        if weight.tensor.ndim not in (3, 4, 5):
            raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
        if weight.tensor.shape[0] % groups:
            raise ValueError("dim 0 must be divisible by groups")
        local, (outputs, inputs, *kernel) = _local_axes(weight.tensor)
        hit = outputs[:, None] % max(weight.tensor.shape[0] // groups, 1) == inputs
        for axis, size in zip(kernel, weight.tensor.shape[2:], strict=True):
            hit = hit[..., None] & (axis == size // 2)
        with torch.no_grad():
            local.copy_(hit)
    return tensor


def sparse_(
    tensor: Target,
    sparsity: float,
    std: float = 0.01,
    generator: torch.Generator | None = None,
    *,
    key: Key | None = None,
) -> Target:
    """Fill with N(0, std²) and set a share of each column to zero, in place.

    Which rows are zero is told by a second stream: those of its smallest numbers in the column. Of a sharded tensor
    each process draws the whole.

    Args:
        tensor: A tensor of two axes, or a layer.
        sparsity: Share of each column that is zero, rounded up to whole elements.
        std: Standard deviation of the others.
        generator: Where one 64-bit key is drawn from; torch's default generator if not given.
        key: Seed and name of the stream, instead of a generator.

    Returns:
        What was given.

    Raises:
        ValueError: As torch: not two axes. Also a share outside [0, 1].
        RuntimeError: As torch: a negative std, or no floating dtype.

    Example:
        >>> (sparse_(torch.empty(10, 4), 0.35, key=(0, "w")) == 0).sum(0)
        tensor([4, 4, 4, 4])

    Reference: Martens 2010, "Deep learning via Hessian-free optimization"
    """
    for weight in writing(tensor):
        if weight.tensor.ndim != 2:
            raise ValueError("Only tensors with 2 dimensions are supported")
        if not 0 <= sparsity <= 1:
            raise ConfigError(f"sparsity is a share in [0, 1], got {sparsity}.")
        # Its errors for dtype and std are torch's.
        normal_(torch.empty(1, dtype=weight.tensor.dtype), std=std, key=(0, ""))
        stream = stream_key(weight, generator=generator, key=key)
        shape = tuple(weight.tensor.shape)
        write_(weight.tensor, partial(_sparse, shape, math.ceil(sparsity * shape[0]), std=std, key=stream))
    return tensor


def _sparse(shape: tuple[int, ...], num_zeros: int, *, std: float, key: int) -> Tensor:
    values = draw(Normal(0.0, std), shape, key=key)
    ranks = draw(Uniform(), shape, key=(key + 1) % 2**64).argsort(dim=0, stable=True)
    return values.scatter_(0, ranks[:num_zeros], 0.0)


def _local_axes(tensor: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The part of a tensor that this process holds, and its logical indices per axis, on its device."""
    local, indices = held(tensor)
    axes = indices or [range(size) for size in tensor.shape]
    return local, [torch.tensor(list(axis), dtype=torch.int64, device=local.device) for axis in axes]

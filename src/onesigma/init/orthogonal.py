"""Orthogonal fillers: matrices that keep lengths, plain, at the center of a convolution, and mirrored.

A matrix cannot be made orthogonal part by part, so these draw the whole matrix of normals from its stream in every
process, factor it there in double precision, and keep only the part that the process holds. Values are then rounded
once; another number of threads or another linear algebra library may move single values by one unit in the last place.
"""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from onesigma._errors import FanError
from onesigma.init.writing import Key, Target, Weight, stream_key, write_, writing
from onesigma.model.fan import Fan
from onesigma.numbers.random import Normal, draw

__all__ = ["delta_orthogonal_", "mirrored_", "orthogonal_"]


def orthogonal_(
    tensor: Target,
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    keep_variance: bool = False,
    key: Key | None = None,
) -> Target:
    """Fill with a (semi-)orthogonal matrix, uniform over all of them; trailing axes count as one, as in torch.

    Args:
        tensor: A tensor (out, in, …), or a layer.
        gain: Factor.
        generator: Where one 64-bit key is drawn from; torch's default generator if not given.
        keep_variance: Also where the layer has more outputs than inputs, and orthonormal columns lose variance: scale
            by √(out/in), so that the rms of the weights is gain/√fan_in. Off, as in torch, keeps lengths instead.
        key: Seed and name of the stream, instead of a generator.

    Returns:
        What was given.

    Raises:
        ValueError: As torch: fewer than two axes.
        RuntimeError: As torch: no floating dtype.

    Example:
        >>> w = orthogonal_(torch.empty(4, 3), key=(0, "w"))
        >>> torch.allclose(w.T @ w, torch.eye(3), atol=1e-6)
        True

    Reference: Saxe et al. 2013, https://arxiv.org/abs/1312.6120; Mezzadri 2007, https://arxiv.org/abs/math-ph/0609050
    """
    for weight in writing(tensor):
        _refuse_flat(weight.tensor, "Only tensors with 2 or more dimensions are supported")
        stream = stream_key(weight, generator=generator, key=key)
        if weight.tensor.numel():
            write_(weight.tensor, partial(_scaled, weight, gain, keep_variance=keep_variance, key=stream))
    return tensor


def delta_orthogonal_(
    tensor: Target,
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    keep_variance: bool = False,
    key: Key | None = None,
) -> Target:
    """Fill a convolution with zeros around an orthogonal (out, in) matrix at the center of the kernel, in place.

    So the convolution is an isometry of every pixel, whatever its border, and deep stacks keep their signal.

    Args:
        tensor: A tensor (out, in, *kernel) of three to five axes, or a convolution.
        gain: Factor.
        generator: As in `orthogonal_`.
        keep_variance: As in `orthogonal_`.
        key: As in `orthogonal_`.

    Returns:
        What was given.

    Raises:
        ValueError: Not three to five axes.

    Example:
        >>> w = delta_orthogonal_(torch.empty(8, 4, 3, 3), key=(0, "conv.weight"))
        >>> int((w != 0).sum()), torch.allclose(w[:, :, 1, 1].T @ w[:, :, 1, 1], torch.eye(4), atol=1e-6)
        (32, True)

    Reference: Xiao et al. 2018, https://arxiv.org/abs/1806.05393
    """
    for weight in writing(tensor):
        if not 3 <= weight.tensor.ndim <= 5:
            raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
        stream = stream_key(weight, generator=generator, key=key)
        if weight.tensor.numel():
            shape = tuple(weight.tensor.shape)
            write_(weight.tensor, partial(_delta, shape, gain, keep_variance=keep_variance, key=stream))
    return tensor


def mirrored_(
    tensor: Target,
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    position: Literal["first", "hidden", "last"] = "hidden",
    key: Key | None = None,
) -> Target:
    """Fill with mirrored blocks of an orthogonal M: [[M, −M], [−M, M]], first [M; −M], last [M, −M], in place.

    With f between such layers the network propagates h(x) = f(x) − f(−x), which has no mean; for ReLU, GELU, SiLU,
    softplus and every f(x) = x·g(x) with g(x) + g(−x) = 1 this is x itself, and the stack an isometry at any depth.
    Convolutions have the blocks at the center of their kernel, as `delta_orthogonal_`.

    Args:
        tensor: A tensor (out, in, *kernel), or a layer; the mirrored axes must have even sizes.
        gain: Factor on M; 1/√E[h(z)²] where h is not x.
        generator: As in `orthogonal_`.
        position: Which blocks: "first" mirrors the outputs, "last" the inputs, "hidden" both.
        key: As in `orthogonal_`.

    Returns:
        What was given.

    Raises:
        FanError: Fewer than two axes; or a mirrored axis of odd size.

    Example:
        >>> w = mirrored_(torch.empty(6, 4), key=(0, "w"))
        >>> torch.equal(w[:3, :2], -w[3:, :2]), torch.equal(w[:3, :2], w[3:, 2:])
        (True, True)
    """
    rows, columns = position in ("first", "hidden"), position in ("last", "hidden")
    if not rows and not columns:
        raise FanError(f"mirrored_: position must be 'first', 'hidden' or 'last', got {position!r}.")
    for weight in writing(tensor):
        shape = tuple(weight.tensor.shape)
        if len(shape) < 2 or (rows and shape[0] % 2) or (columns and shape[1] % 2):
            raise FanError(f"mirrored_ needs even sizes where it mirrors ({position}), got shape {shape}.")
        stream = stream_key(weight, generator=generator, key=key)
        if weight.tensor.numel():
            write_(weight.tensor, partial(_mirrored, shape, gain, rows=rows, columns=columns, key=stream))
    return tensor


def _refuse_flat(tensor: Tensor, message: str) -> None:
    if tensor.ndim < 2:
        raise ValueError(message)
    # What torch raises for integers, by asking it for one number.
    torch.empty(1, dtype=tensor.dtype).normal_(generator=torch.Generator())


def _scaled(weight: Weight, gain: float, *, keep_variance: bool, key: int) -> Tensor:
    shape = weight.tensor.shape
    matrix = _orthogonal(shape[0], shape[1:].numel(), key=key)
    fan = weight.fan or Fan(shape[1:].numel(), shape[0])
    # Σw² is min(out, in); an rms of 1/√fan_in needs numel/fan_in.
    scale = gain * math.sqrt(matrix.numel() / fan.fan_in / min(matrix.shape)) if keep_variance else gain
    return (matrix * scale).view(shape)


def _delta(shape: tuple[int, ...], gain: float, *, keep_variance: bool = False, key: int) -> Tensor:
    num_out, num_in, *kernel = shape
    scale = gain * max(1.0, math.sqrt(num_out / num_in)) if keep_variance else gain
    whole = torch.zeros(num_out, num_in, math.prod(kernel), dtype=torch.float64)
    center = 0
    for size in kernel:
        center = center * size + size // 2
    whole[:, :, center] = _orthogonal(num_out, num_in, key=key) * scale
    return whole.view(shape)


def _mirrored(shape: tuple[int, ...], gain: float, *, rows: bool, columns: bool, key: int) -> Tensor:
    block = _delta((shape[0] // (1 + rows), shape[1] // (1 + columns), *shape[2:]), gain, key=key)
    block = torch.cat((block, -block), 1) if columns else block
    return torch.cat((block, -block), 0) if rows else block


def _orthogonal(num_rows: int, num_columns: int, *, key: int) -> Tensor:
    """The factor Q of a matrix of keyed normals, with the signs that make it uniform."""
    normals = draw(Normal(), (num_rows, num_columns), key=key).double()
    factor, triangle = torch.linalg.qr(normals.T if num_rows < num_columns else normals)
    factor *= triangle.diagonal().sign()
    found: Tensor = factor.T if num_rows < num_columns else factor
    return found

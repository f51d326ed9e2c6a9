"""Normalization over ranks on the CPU by compiled loops: two reads forward, two backward, and what ranks send."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from onesigma.norm.masked_kernel import moments_of, shared
from onesigma.numbers import channel_loops
from onesigma.numbers.kernel import Array

__all__ = ["CompiledSynchronized", "are_for_compiled_loops", "joint_statistics", "refuse_one_value"]

_LONG = 16  # positions of a channel in a row, below which vectors run empty


def are_for_compiled_loops(x: Tensor) -> bool:
    """Whether the loops can read a tensor: images, long sequences of floats on the CPU, not while a compiler looks."""
    return (
        x.device.type == "cpu"
        and x.dim() > 2
        and x.shape[2:].numel() >= _LONG
        and x.dtype in (torch.float32, torch.float64)
        and type(x) in (Tensor, torch.nn.Parameter)
        and x.is_contiguous()
        and not torch.compiler.is_compiling()
    )


def joint_statistics(count: float, mean: Tensor, variance: Tensor, *, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and count over all ranks, in float64, from those of each: as Chan et al. merge them."""
    channels = len(mean)
    row = torch.cat([mean.double(), variance.double() * count, mean.new_tensor([count], dtype=torch.float64)])
    rows = [torch.empty_like(row) for _ in range(dist.get_world_size(group))]
    dist.all_gather(rows, row, group=group)
    table = torch.stack(rows)
    counts, means, squares = table[:, -1:], table[:, :channels], table[:, channels:-1]
    total = counts.sum().clamp_min(1)
    mean = (counts * means).sum(0) / total
    squares = squares.sum(0) + (counts * (means - mean).square()).sum(0)
    return mean, squares / total, counts.sum()


def refuse_one_value(count: Tensor, x: Tensor) -> None:
    """A single value has no spread.

    Raises:
        ValueError: As `nn.BatchNorm` raises it.
    """
    if float(count) == 1:
        raise ValueError(f"Expected more than 1 value per channel over all ranks when training, got {x.shape} here")


class CompiledSynchronized(torch.autograd.Function):
    """What `sync._Synchronized` does, of tensors that the loops can read."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any) -> Any:
        """As there."""
        own, mean, variance = moments_of(x.detach().flatten(2), channel_loops)
        found = joint_statistics(own, torch.from_numpy(mean), torch.from_numpy(variance), group=group)
        refuse_one_value(found[2], x)
        ctx.mark_non_differentiable(*found)
        mean, variance, count = (part.numpy() for part in found)
        inverse = 1 / np.sqrt(variance + eps)
        scale = inverse if weight is None else inverse * weight.detach().double().numpy()
        output = torch.empty_like(x)
        values, target = _rows(x), _rows(output)
        near = mean.astype(values.dtype)
        # What rounding the mean left out goes into the constant.
        shift = (near - mean) * scale + (0.0 if bias is None else bias.detach().double().numpy())
        times, plus = scale.astype(values.dtype), shift.astype(values.dtype)
        shared(lambda rows: channel_loops.standardized(values[rows], near, times, plus, target[rows]), x)
        ctx.save_for_backward(x)
        ctx.kept = max(float(count), 1.0), near - mean, near, inverse, scale
        ctx.group, ctx.dtypes = group, [None if part is None else part.dtype for part in (weight, bias)]
        return output, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        """The gradient of the batch of all ranks."""
        (x,) = ctx.saved_tensors
        count, left, near, inverse, scale = ctx.kept
        result = torch.empty_like(x)
        values, above, target = _rows(x), _rows(gradient.contiguous()), _rows(result)

        def sums(rows: slice) -> Array:
            both = np.empty((2, values.shape[1]))
            channel_loops.gradient_sums(above[rows], values[rows], near, both[0], both[1])
            return both

        def write(rows: slice) -> None:
            channel_loops.input_gradient(above[rows], values[rows], near, times, down, steep, target[rows])

        own = np.sum(shared(sums, x), axis=0)
        own[1] = (own[1] + left * own[0]) * inverse
        total = torch.from_numpy(own.copy())
        dist.all_reduce(total, group=ctx.group)
        shift, slope = total.numpy() / count
        slope = scale * inverse * slope
        times, down, steep = (part.astype(near.dtype) for part in (scale, scale * shift + slope * left, slope))
        shared(write, x)
        parts = [
            None if dtype is None else torch.from_numpy(part).to(dtype)
            for part, dtype in zip(own[::-1], ctx.dtypes, strict=True)
        ]
        return result, *parts, None, None


def _rows(x: Tensor) -> Array:
    """(N, C, …) → (N, C, L), the same memory."""
    return x.detach().flatten(2).numpy()

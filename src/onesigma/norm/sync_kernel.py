"""Normalization over ranks on the CPU by compiled loops: two reads forward, two backward, and what ranks send."""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from onesigma.norm.channel_sums import gradient_table, gradient_totals, output_table
from onesigma.norm.masked_kernel import array_of, gradients_of, moments_of, shared, shares_of
from onesigma.numbers import channel_loops
from onesigma.numbers.kernel import Array
from onesigma.numbers.threads import shared_out

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
        values, output = _rows(x), torch.empty_like(x)
        shares, target = shares_of(x), _rows(output)
        own, moments = moments_of(values, channel_loops, shares=shares)
        found = joint_statistics(own, *torch.from_numpy(moments), group=group)
        refuse_one_value(found[2], x)
        ctx.mark_non_differentiable(*found)
        moments, table = np.stack([part.numpy() for part in found[:2]]), np.empty((3, len(found[0])), values.dtype)
        kept = output_table(moments, eps, array_of(weight), array_of(bias), table)
        mean, scale, shift = table
        shared(lambda rows: channel_loops.standardized(values[rows], mean, scale, shift, target[rows]), shares)
        ctx.save_for_backward(x, weight, bias)
        ctx.kept = max(float(found[2]), 1.0), moments, kept, table
        ctx.group = group
        return output, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        """The gradient of the batch of all ranks."""
        x, weight, bias = ctx.saved_tensors
        count, moments, kept, table = ctx.kept
        result, shares = torch.empty_like(x), shares_of(x)
        values, above, target = _rows(x), _rows(gradient.contiguous()), _rows(result)
        sums = np.empty((len(shares), 2, values.shape[1]))

        def add(number: int) -> None:
            rows = shares[number]
            channel_loops.gradient_sums(above[rows], values[rows], table[0], *sums[number])

        shared_out(add, range(len(shares)), threads=len(shares))
        own = gradient_totals(sums, moments, kept, table)
        total = torch.from_numpy(own.copy())
        dist.all_reduce(total, group=ctx.group)
        scale, level, slope = gradient_table(total.numpy(), count, moments, kept, table)

        def write(rows: slice) -> None:
            channel_loops.input_gradient(above[rows], values[rows], table[0], scale, level, slope, target[rows])

        shared(write, shares)
        return result, *gradients_of(own, weight, bias), None, None


def _rows(x: Tensor) -> Array:
    """(N, C, …) → (N, C, L), the same memory."""
    return x.detach().flatten(2).numpy()

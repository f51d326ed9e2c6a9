"""Masked normalization on the CPU by compiled loops: two reads forward, two backward, and no tensor in between."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from onesigma.numbers import masked, masked_rows
from onesigma.numbers.kernel import Array
from onesigma.numbers.threads import shared_out

__all__ = ["CompiledMaskedNormalize", "is_for_compiled_loops", "moments_of", "shared"]

_T = TypeVar("_T")

_SHARE = 1 << 19  # values of which a thread is given at least so many


def is_for_compiled_loops(x: Tensor) -> bool:
    """Whether the loops can read a tensor: rows or sequences of floats on the CPU, not while a compiler looks on."""
    return (
        x.device.type == "cpu"
        and x.dim() in (2, 3)
        and x.dtype in (torch.float32, torch.float64)
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
    )


def shared(work: Callable[[slice], _T], x: Tensor) -> list[_T]:
    """The work on shares of the batch, on as many threads as torch uses where that pays."""
    threads = max(1, min(torch.get_num_threads(), len(x), x.numel() // _SHARE))
    ends = [len(x) * share // threads for share in range(threads + 1)]
    return shared_out(work, list(map(slice, ends[:-1], ends[1:])), threads=threads)


def moments_of(x: Tensor, loops: Any, *masks: Array) -> tuple[int, Array, Array]:
    """Values that count, and per channel their mean and variance, in double precision."""

    def of(rows: slice) -> tuple[int, Array, Array]:
        mean, spread = np.empty(x.shape[1]), np.empty(x.shape[1])
        return loops.moments(values[rows], *(mask[rows] for mask in masks), mean, spread), mean, spread

    values = x.numpy()
    count, mean, spread = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for more, center, squares in shared(of, x):
        if more:  # as rows are merged, so are shares
            whole, away = count + more, center - mean
            mean = mean + away * (more / whole)
            spread = spread + squares + away * away * (count * (more / whole))
            count = whole
    return count, mean, spread / max(count, 1)


def _loops(x: Tensor) -> Any:
    """Those for rows (N, C), or for sequences (N, C, L)."""
    return masked_rows if x.dim() == 2 else masked


class CompiledMaskedNormalize(torch.autograd.Function):
    """What `kernels.MaskedNormalize` does, of (N, C, L) and a mask (N, L) of booleans, or (N, C) and (N,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
        """As there."""
        x, output = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
        valid = mask.contiguous().view(torch.uint8).numpy()
        count, mean, variance = moments_of(x.detach(), _loops(x), valid)
        near = mean.astype(output.numpy().dtype)
        gamma = 1.0 if weight is None else weight.detach().double().numpy()
        inverse = 1 / np.sqrt(variance + eps)
        scale = inverse * gamma
        # What rounding the mean left out goes into the constant.
        shift = (near - mean) * scale + (0.0 if bias is None else bias.detach().double().numpy())
        times, plus = scale.astype(near.dtype), shift.astype(near.dtype)
        values, target, loops = x.detach().numpy(), output.numpy(), _loops(x)
        shared(lambda rows: loops.standardized(values[rows], valid[rows], near, times, plus, target[rows]), x)
        ctx.save_for_backward(x)
        ctx.kept = valid, count, mean, near, inverse, scale
        ctx.affine = weight is not None, bias is not None
        found = torch.from_numpy(mean).to(x.dtype), torch.from_numpy(variance).to(x.dtype)
        ctx.mark_non_differentiable(*found)
        return output, *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        """The gradient of the valid values; 0 elsewhere, whatever came in there."""
        (x,) = ctx.saved_tensors
        valid, count, mean, near, inverse, scale = ctx.kept
        loops = _loops(x)
        values, above, result = x.numpy(), gradient.contiguous().numpy(), torch.empty_like(x)

        def sums(rows: slice) -> Array:
            both = np.empty((2, values.shape[1]))
            loops.gradient_sums(above[rows], values[rows], valid[rows], near, both[0], both[1])
            return both

        def write(rows: slice) -> None:
            parts = above[rows], values[rows], valid[rows]
            loops.input_gradient(*parts, near, times, down, steep, target[rows])

        total, product = np.sum(shared(sums, x), axis=0)
        product -= (mean - near) * total
        slope = scale * inverse**2 * product / count
        level = scale * total / count - slope * (mean - near)
        times, down, steep = (part.astype(near.dtype) for part in (scale, level, slope))
        target = result.numpy()
        shared(write, x)
        weights = [torch.from_numpy(part).to(x.dtype) for part in (product * inverse, total)]
        weight, bias = (part if wanted else None for part, wanted in zip(weights, ctx.affine, strict=True))
        return result, None, weight, bias, None

"""Masked normalization on the CPU by compiled loops: two reads forward, two backward, and no tensor in between."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from onesigma.norm.channel_sums import gradient_table, gradient_totals, merged, output_table
from onesigma.norm.kernels import differentiable_gradients
from onesigma.norm.masked_steps import differentiated, normalized
from onesigma.norm.running import move_by_
from onesigma.norm.statistics import BatchNorm
from onesigma.numbers import masked, masked_rows
from onesigma.numbers.kernel import Array
from onesigma.numbers.threads import shared_out

__all__ = [
    "CompiledMaskedNormalize",
    "array_of",
    "gradients_of",
    "is_for_compiled_loops",
    "moments_of",
    "shared",
    "shares_of",
]

_T = TypeVar("_T")

_SHARE = 1 << 19  # values of which a thread is given at least so many


def is_for_compiled_loops(x: Tensor) -> bool:
    """Whether the loops can read a tensor: floats on the CPU, not while a compiler or a transform looks on."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.is_cpu
        and x.dim() in (2, 3)
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def shares_of(x: Tensor) -> list[slice]:
    """Parts of the batch, for as many threads as torch uses where that pays."""
    most = min(x.shape[0], x.numel() // _SHARE)  # `len` of a tensor is slow
    if most < 2:
        return [slice(None)]
    threads = min(torch.get_num_threads(), most)
    ends = [x.shape[0] * share // threads for share in range(threads + 1)]
    return list(map(slice, ends[:-1], ends[1:]))


def shared(work: Callable[[slice], _T], shares: Sequence[slice]) -> list[_T]:
    """The work on each share, on a thread of its own."""
    return shared_out(work, shares, threads=len(shares))


def array_of(part: Tensor | None) -> Array | None:
    """The same memory."""
    return None if part is None else part.numpy(force=True)  # detached


def moments_of(values: Array, loops: Any, *masks: Array, shares: Sequence[slice]) -> tuple[int, Array]:
    """Values that count, and per channel their mean and variance (2, C), in double precision."""
    parts = np.empty((len(shares), 2, values.shape[1]))

    def of(number: int) -> int:
        rows, (mean, spread) = shares[number], parts[number]
        count: int = loops.moments(values[rows], *(mask[rows] for mask in masks), mean, spread)
        return count

    counts = shared_out(of, range(len(shares)), threads=len(shares))
    return merged(np.array(counts), parts)


class CompiledMaskedNormalize(torch.autograd.Function):
    """What `kernels.MaskedNormalize` does, of (N, C, L) and a mask (N, L), or (N, C) and (N,), of booleans.

    Also moves the running statistics of a norm, if one is given: by tensors that takes longer than a small batch by
    the loops.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        mask: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        norm: BatchNorm | None,
    ) -> Tensor:
        """The output alone."""
        output = torch.empty_like(x, memory_format=torch.contiguous_format)
        arrays = _values(x), _values(mask).view(np.uint8), array_of(weight), array_of(bias), eps, output.numpy()
        shares = shares_of(x)
        count, moments, *kept = normalized(*arrays) if len(shares) < 2 else _normalized_by(shares, *arrays)
        if norm is not None:
            move_by_(norm, moments, count=count)
        ctx.save_for_backward(x, mask, weight, bias)
        ctx.eps, ctx.kept = eps, (count, moments, *kept)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """The gradient of the valid values; 0 elsewhere, whatever came in there."""
        x, mask, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *differentiable_gradients(gradient, x, mask, weight, bias, eps=ctx.eps), None, None
        result, shares = torch.empty_like(x, memory_format=torch.contiguous_format), shares_of(x)
        arrays = _values(gradient), _values(x), _values(mask).view(np.uint8), *ctx.kept, result.numpy()
        totals = differentiated(*arrays) if len(shares) < 2 else _differentiated_by(shares, *arrays)
        return result, None, *gradients_of(totals, weight, bias), None, None


def _normalized_by(
    shares: Sequence[slice], x: Array, mask: Array, weight: Array | None, bias: Array | None, eps: float, out: Array
) -> tuple[int, Array, Array, Array]:
    """As `masked_steps.normalized`, on several threads."""
    loops, table = _loops(x), np.empty((3, x.shape[1]), x.dtype)
    count, moments = moments_of(x, loops, mask, shares=shares)
    kept = output_table(moments, eps, weight, bias, table)
    mean, scale, shift = table
    shared(lambda rows: loops.standardized(x[rows], mask[rows], mean, scale, shift, out[rows]), shares)
    return count, moments, kept, table


def _differentiated_by(
    shares: Sequence[slice],
    gradient: Array,
    x: Array,
    mask: Array,
    count: int,
    moments: Array,
    kept: Array,
    table: Array,
    out: Array,
) -> Array:
    """As `masked_steps.differentiated`, on several threads."""
    loops, mean = _loops(x), table[0]

    def sums(rows: slice) -> Array:
        both = np.empty((2, x.shape[1]))
        loops.gradient_sums(gradient[rows], x[rows], mask[rows], mean, both[0], both[1])
        return both

    def write(rows: slice) -> None:
        loops.input_gradient(gradient[rows], x[rows], mask[rows], mean, scale, level, slope, out[rows])

    totals = gradient_totals(np.stack(shared(sums, shares)), moments, kept, table)
    scale, level, slope = gradient_table(totals, count, moments, kept, table)
    shared(write, shares)
    return totals.astype(x.dtype)


def gradients_of(totals: Array, weight: Tensor | None, bias: Tensor | None) -> list[Tensor | None]:
    """Those of γ and β, where they are."""
    return [
        None if part is None else torch.from_numpy(total).to(part.dtype)
        for part, total in zip((bias, weight), totals, strict=True)
    ][::-1]


def _values(x: Tensor) -> Array:
    """Without gaps: the same memory where it has none."""
    values: Array = x.numpy(force=True)
    return values if values.flags.c_contiguous else np.ascontiguousarray(values)


def _loops(x: Array) -> Any:
    """Those for rows (N, C), or for sequences (N, C, L)."""
    return masked_rows if x.ndim == 2 else masked

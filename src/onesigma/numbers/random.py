"""Random numbers that depend on a key and on an element's place in its tensor, and on nothing else.

The element of row-major index i in the *logical* tensor gets word i mod 4 of the Philox4x32-10 block i div 4, and a
transform of these 32 bits that rounds alike everywhere. So the values are the same, bit for bit, for any number of
threads, any order, any part of the tensor that a process holds, and on any device.

Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from onesigma._errors import ConfigError
from onesigma.numbers import random_compiled as compiled
from onesigma.numbers import random_tensor as by_tensor
from onesigma.numbers.blocks import Rows, pieces, rectangles, rows_of
from onesigma.numbers.distributions import CELLS, Distribution, Normal, Plan, TruncatedNormal, Uniform
from onesigma.numbers.keys import canonical_name, key_of, keys_of
from onesigma.numbers.threads import shared_out

__all__ = [
    "Distribution",
    "Normal",
    "TruncatedNormal",
    "Uniform",
    "canonical_name",
    "draw",
    "draw_",
    "key_of",
    "keys_of",
]

_PIECE = 1 << 18
"""Elements drawn at one go: small beside a shard, large beside the cost of a call."""


def draw(
    distribution: Distribution,
    shape: Sequence[int],
    *,
    key: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Tensor:
    """A new tensor of this shape, drawn from the distribution; see `draw_`.

    Example:
        >>> w = draw(Normal(std=0.02), (1000, 500), key=key_of(0, "fc.weight"))
        >>> torch.equal(w, draw(Normal(std=0.02), (1000, 500), key=key_of(0, "fc.weight"), threads=1))
        True
    """
    out = torch.empty(tuple(shape), dtype=dtype, device=device)
    return draw_(out, distribution, key=key, threads=threads)


def draw_(
    out: Tensor,
    distribution: Distribution,
    *,
    key: int,
    shape: Sequence[int] | None = None,
    indices: Sequence[Sequence[int]] | None = None,
    threads: int | None = None,
) -> Tensor:
    """Fill a tensor, or the part of it that this process holds, in place and without autograd.

    Values are drawn in single precision and then rounded to the tensor's dtype (a double tensor gets single-precision
    draws, scaled in double precision). Tensors without storage (meta, fake) are left alone.

    Args:
        out: The tensor; of any floating dtype, layout and device.
        distribution: What to draw from.
        key: 64 bits; see `key_of`.
        shape: Shape of the logical tensor that `out` is a part of; that of `out` if not given.
        indices: Per axis the logical indices that `out` holds, ascending, as a range or a list; all if not given.
        threads: Threads on the CPU; as many as torch uses if not given. They never change a value.

    Raises:
        ConfigError: Parameters that are no distribution; a part that does not fit the tensor.
    """
    plan = distribution.plan(out.dtype)
    shape = tuple(out.shape if shape is None else shape)
    if indices is None:
        indices = [range(size) for size in shape]
    _refuse_misfit(tuple(out.shape), shape, indices)
    if out.is_meta or isinstance(out, FakeTensor) or out.numel() == 0:
        return out
    with torch.no_grad():
        for place, box in rectangles(indices):
            _draw_box(out.detach()[place], rows_of(box, shape=shape), plan, key=key, threads=threads)
    return out


def _refuse_misfit(part: tuple[int, ...], shape: tuple[int, ...], indices: Sequence[Sequence[int]]) -> None:
    held = tuple(len(axis) for axis in indices)
    if held != part:
        raise ConfigError(f"a part of shape {part} was given the indices of one of shape {held}.")
    if any(len(axis) and axis[-1] >= size for axis, size in zip(indices, shape, strict=True)):
        raise ConfigError(f"the indices reach beyond the logical shape {shape}.")


def _draw_box(out: Tensor, rows: Rows, plan: Plan, *, key: int, threads: int | None) -> None:
    if not out.is_contiguous():
        # `copy_` knows every layout, and refuses one whose elements share memory.
        whole = torch.empty(out.shape, dtype=out.dtype, device=out.device)
        _draw_box(whole, rows, plan, key=key, threads=threads)
        out.copy_(whole)
        return
    table = out.view(len(rows.starts), rows.length)

    def draw_piece(piece: tuple[slice, slice]) -> None:
        where, columns = piece
        part = Rows(rows.starts[where] + columns.start, columns.stop - columns.start)
        _draw_rows(table[where, columns], part, plan, key=key)

    todo = list(pieces(rows, limit=_PIECE))
    shared_out(draw_piece, todo, threads=threads or torch.get_num_threads() if out.device.type == "cpu" else 1)


def _draw_rows(out: Tensor, rows: Rows, plan: Plan, *, key: int) -> None:
    """One piece, in the way that its device and dtype allow."""
    if plan.window is not None:
        out.copy_(_draw_window(rows, plan, key=key))
    elif out.dtype == torch.float64:
        base = torch.empty(out.shape, dtype=torch.float32, device=out.device)
        unit = Plan(normal=plan.normal, first=plan.first, num_cells=plan.num_cells, scale=1.0, offset=0.0)
        _draw_rows(base, rows, unit, key=key)
        out.copy_(base.double().mul_(plan.scale).add_(plan.offset).clamp_(plan.minimum, plan.maximum))
    elif out.device.type not in ("cpu", "mps"):
        out.copy_(_draw_by_tensor(Rows(rows.starts.to(out.device), rows.length), plan, key=key))
    elif out.device.type == "mps" or out.dtype != torch.float32:
        # No double precision on MPS, which the tensor operations need.
        values = torch.empty(out.shape, dtype=torch.float32)
        _fill(values, rows, plan, key=key)
        out.copy_(values)
    else:
        _fill(out, rows, plan, key=key)


def _fill(out: Tensor, rows: Rows, plan: Plan, *, key: int) -> None:
    compiled.fill(
        out.numpy(),
        rows.starts.numpy(),
        np.uint64(key),
        compiled.NORMAL if plan.normal else compiled.UNIFORM,
        np.uint64(plan.first),
        np.uint64(plan.num_cells),
        np.float32(plan.scale),
        np.float32(plan.offset),
        np.float32(plan.minimum),
        np.float32(plan.maximum),
    )


def _draw_by_tensor(rows: Rows, plan: Plan, *, key: int) -> Tensor:
    bits = by_tensor.stream(rows.starts, rows.length, key=key)
    bits = by_tensor.truncate(bits, first=plan.first, num_cells=plan.num_cells)
    base = by_tensor.normals(bits) if plan.normal else by_tensor.uniforms(bits)
    return by_tensor.finish(base, scale=plan.scale, offset=plan.offset, minimum=plan.minimum, maximum=plan.maximum)


def _draw_window(rows: Rows, plan: Plan, *, key: int) -> Tensor:
    """A truncated normal of a window too thin for cells: the quantile from log-probabilities, in double precision."""
    assert plan.window is not None
    low, high = plan.window
    # Count probability from the far end, where its logarithm keeps all digits.
    sign = -1.0 if low > 0 else 1.0
    near, far = (-low, -high) if low > 0 else (high, low)
    share = (by_tensor.stream(rows.starts, rows.length, key=key).double().numpy() + 0.5) / CELLS
    ratio = np.exp(log_ndtr(far) - log_ndtr(near))
    z = sign * ndtri_exp(log_ndtr(near) + np.log(ratio + share * (1 - ratio)))
    return torch.from_numpy(z).mul_(plan.scale).add_(plan.offset).clamp_(plan.minimum, plan.maximum)

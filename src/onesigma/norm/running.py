"""Running statistics as `nn.BatchNorm` moves them, for layers that normalize in a way of their own."""

from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from onesigma.norm.channel_sums import moved
from onesigma.norm.statistics import BatchNorm
from onesigma.numbers.kernel import Array

__all__ = ["counted", "is_traced", "move_", "move_by_", "normalized", "update_", "weight_and_bias"]


def is_traced() -> bool:
    """Whether a graph is made of what runs: then no number of a tensor can decide what is done."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def counted(norm: BatchNorm, *, batches: Any = 1) -> Any:
    """Count one batch, and return the weight that it has in the running statistics: momentum, or 1/count if None.

    A tensor of 1 or 0 counts a batch or none, and gives it that weight; the weight is a tensor then, and in a graph.
    """
    tracked, momentum = norm.num_batches_tracked, norm.momentum
    if tracked is None:
        return (momentum or 0.0) * batches
    tracked.add_(batches)
    if momentum is not None:
        return momentum * batches
    return batches / (tracked.double().clamp_min(1.0) if is_traced() else float(tracked))


@torch.no_grad()
def move_(norm: BatchNorm, *, mean: Tensor, variance: Tensor, count: float | Tensor) -> None:
    """running += momentum·(batch − running), with the statistics of one batch.

    Args:
        norm: A layer that keeps running statistics.
        mean: (C,) of the batch.
        variance: (C,) with correction 0; kept with correction 1.
        count: Values per channel; nothing moves if there is none.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if isinstance(count, Tensor):
        weight, unbiased = counted(norm, batches=(count >= 1).long()), variance * (count / (count - 1).clamp_min(1))
    elif count < 1:
        return
    else:
        weight, unbiased = counted(norm), variance * (count / max(count - 1, 1))
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.copy_((1 - weight) * running.double() + weight * new.double())


def move_by_(norm: BatchNorm, moments: Array, *, count: int) -> None:
    """What `move_` does, by mean and variance (2, C) in double precision; compiled where the buffers are plain."""
    mean, variance = norm.running_mean, norm.running_var
    if not (_is_plain(mean) and _is_plain(variance)):
        move_(norm, mean=torch.from_numpy(moments[0]), variance=torch.from_numpy(moments[1]), count=count)
    elif count:
        moved(mean.numpy(), variance.numpy(), moments, float(counted(norm)), count / max(count - 1, 1))
        torch.autograd.graph.increment_version((mean, variance))  # as torch does where it writes


def _is_plain(buffer: Tensor | None) -> TypeGuard[Tensor]:
    """Floats on the CPU that nothing looks at but us."""
    return type(buffer) is Tensor and buffer.is_cpu and buffer.dtype in (torch.float32, torch.float64)


@torch.no_grad()
def update_(norm: BatchNorm, input: Tensor) -> None:
    """Move the running statistics by a batch, bit for bit as `nn.BatchNorm` does where no graph is made of it."""
    assert norm.running_mean is not None
    if not is_traced():
        torch.batch_norm_update_stats(input.detach(), norm.running_mean, norm.running_var, counted(norm))
        return
    # In a graph that function is taken for one that writes nothing, and momentum has to be a number.
    wide = input.detach().to(torch.promote_types(input.dtype, norm.running_mean.dtype))
    variance, mean = torch.var_mean(wide, [axis for axis in range(input.dim()) if axis != 1], correction=0)
    move_(norm, mean=mean, variance=variance, count=input.numel() // max(input.shape[1], 1))


def normalized(norm: BatchNorm, input: Tensor, *, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """What `nn.BatchNorm.forward` gives and does to its buffers, with another weight and bias."""
    keeps = not norm.training or norm.track_running_stats
    mean, variance = (norm.running_mean, norm.running_var) if keeps else (None, None)
    by_batch = norm.training or (norm.running_mean is None and norm.running_var is None)
    counts = norm.training and norm.track_running_stats
    if counts and norm.momentum is None and mean is not None and is_traced():
        update_(norm, input)
        mean, variance, counts = None, None, False
    momentum = counted(norm) if counts else 0.0
    return F.batch_norm(input, mean, variance, weight, bias, by_batch, momentum, norm.eps)


def weight_and_bias(norm: BatchNorm) -> tuple[Tensor | None, Tensor | None]:
    """γ and β, in float32 where they are halves and the running statistics are not."""
    like = norm.running_mean
    if like is None or norm.weight is None or norm.weight.dtype == like.dtype or norm.weight.dtype == torch.float64:
        return norm.weight, norm.bias
    return norm.weight.to(like.dtype), None if norm.bias is None else norm.bias.to(like.dtype)

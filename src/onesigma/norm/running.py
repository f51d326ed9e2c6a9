"""Running statistics as `nn.BatchNorm` moves them, for layers that normalize in a way of their own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from onesigma.norm.statistics import BatchNorm

__all__ = ["counted", "move_", "normalized", "weight_and_bias"]


def counted(norm: BatchNorm) -> float:
    """Count one batch, and return the weight that it has in the running statistics: momentum, or 1/count if None."""
    if norm.num_batches_tracked is None:
        return norm.momentum or 0.0
    norm.num_batches_tracked.add_(1)
    return 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum


@torch.no_grad()
def move_(norm: BatchNorm, *, mean: Tensor, variance: Tensor, count: float) -> None:
    """running += momentum·(batch − running), with the statistics of one batch.

    Args:
        norm: A layer that keeps running statistics.
        mean: (C,) of the batch.
        variance: (C,) with correction 0; kept with correction 1.
        count: Values per channel; nothing moves if there is none.
    """
    if count < 1:
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, unbiased = counted(norm), variance * (count / max(count - 1, 1))
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.copy_((1 - weight) * running.double() + weight * new.double())


def normalized(norm: BatchNorm, input: Tensor, *, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """What `nn.BatchNorm.forward` gives and does to its buffers, with another weight and bias."""
    keeps = not norm.training or norm.track_running_stats
    mean, variance = (norm.running_mean, norm.running_var) if keeps else (None, None)
    by_batch = norm.training or (norm.running_mean is None and norm.running_var is None)
    momentum = counted(norm) if norm.training and norm.track_running_stats else 0.0
    return F.batch_norm(input, mean, variance, weight, bias, by_batch, momentum, norm.eps)


def weight_and_bias(norm: BatchNorm) -> tuple[Tensor | None, Tensor | None]:
    """γ and β, in float32 where they are halves and the running statistics are not."""
    like = norm.running_mean
    if like is None or norm.weight is None or norm.weight.dtype == like.dtype or norm.weight.dtype == torch.float64:
        return norm.weight, norm.bias
    return norm.weight.to(like.dtype), None if norm.bias is None else norm.bias.to(like.dtype)

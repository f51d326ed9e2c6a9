"""What a BatchNorm of any kind makes of a batch in training, without a trace in its buffers."""

from collections.abc import Mapping
from typing import Any

import torch

from onesigma.norm.ghost import GhostBatchNorm
from onesigma.norm.renorm import BatchRenorm
from onesigma.norm.statistics import BatchNorm, by_batch

__all__ = ["as_trained"]


def as_trained(norm: BatchNorm, given: Mapping[str, Any]) -> torch.Tensor:
    """The output of a layer in training; `given` are the arguments of `F.batch_norm` that it has in eval, by name.

    Example:
        >>> norm, x = GhostBatchNorm(3, ghost_size=4), torch.randn(9, 3)
        >>> torch.equal(as_trained(norm, {"input": x, "weight": norm.weight, "bias": norm.bias}), norm(x))
        True
    """
    if isinstance(norm, GhostBatchNorm):
        parts = norm.parts_of(given["input"])
        return torch.cat([by_batch({**given, "input": part}) for part in parts])
    if isinstance(norm, BatchRenorm):
        weight, bias = norm.corrected(given["input"], given.get("weight"), given.get("bias"))
        return by_batch({**given, "weight": weight, "bias": bias})
    return by_batch(given)

"""`SyncBatchNorm`: BatchNorm over the batches of all ranks, on any backend, CPU and gloo included."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable

from onesigma.model.edits import Edits
from onesigma.norm.kernels import along, centered_moments, input_gradient, sums
from onesigma.norm.running import move_, normalized, weight_and_bias
from onesigma.norm.sync_kernel import (
    CompiledSynchronized,
    are_for_compiled_loops,
    joint_statistics,
    refuse_one_value,
)
from onesigma.norm.variants import Variant, convert_

__all__ = ["SyncBatchNorm", "synchronize_"]


class SyncBatchNorm(Variant, nn.SyncBatchNorm):
    """BatchNorm whose batch is that of all ranks together; `nn.SyncBatchNorm`, which runs on a GPU only, elsewhere.

    Each rank sends its count, mean and squared distances per channel; they are merged in float64, so ranks weigh by
    their number of values, may differ in it and may have none. The gradient is that of the whole batch. In eval mode,
    without a process group or with one rank, it is `nn.BatchNorm`. Arguments and state dict are those of
    `nn.SyncBatchNorm`.

    Shapes: (N, C, …) → (N, C, …).

    Example:
        >>> norm = SyncBatchNorm(3)
        >>> norm(torch.randn(4, 3, 2)).shape
        torch.Size([4, 3, 2])
    """

    attributes = ("process_group",)
    process_group: Any = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize by the batch of all ranks in training, by the running statistics in eval."""
        self._check_input_dim(input)
        weight, bias = weight_and_bias(self)
        group = self.process_group
        in_group = self.training and dist.is_available() and dist.is_initialized()
        if not in_group or dist.get_world_size(group) < 2:
            return normalized(self, input, weight=weight, bias=bias)
        function: Any = CompiledSynchronized if are_for_compiled_loops(input) else _Synchronized
        output, mean, variance, count = function.apply(input, weight, bias, self.eps, group)
        if self.track_running_stats and self.running_mean is not None:
            move_(self, mean=mean, variance=variance, count=float(count))
        return cast(torch.Tensor, output)


class _Synchronized(torch.autograd.Function):
    """(x − mean)/√(var + eps)·γ + β by the statistics of all ranks; also returns mean, variance and count."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: Any, bias: Any, eps: float, group: Any) -> Any:
        mean, variance, count = joint_statistics(*_statistics(x), group=group)
        refuse_one_value(count, x)
        ctx.group, ctx.has_bias, ctx.eps = group, bias is not None, eps
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.mark_non_differentiable(mean, variance, count)
        dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
        output = torch.empty_like(x)
        if x.numel():
            output = torch.nn.functional.batch_norm(x, mean.to(dtype), variance.to(dtype), weight, bias, eps=eps)
        return output, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> Any:
        x, weight, mean, variance, count = ctx.saved_tensors
        inverse, wide = (variance + ctx.eps).rsqrt(), torch.promote_types(x.dtype, torch.float32)
        gradient, x_wide = gradient.to(wide), x.to(wide)
        centered = x_wide - along(mean, x_wide)
        product = centered * gradient
        own = torch.stack([sums(gradient).double(), sums(product).double() * inverse])
        total = own.clone()
        dist.all_reduce(total, group=ctx.group)
        shift, slope = (total / count.clamp_min(1)).unbind()
        scale = inverse if weight is None else inverse * weight.double()
        inner = product.copy_(gradient)
        grad_input = input_gradient(inner, centered, scale=scale, shift=shift, slope=scale * inverse * slope)
        grad_weight = None if weight is None else own[1].to(weight.dtype)
        grad_bias = own[0].to(weight.dtype if weight is not None else x.dtype) if ctx.has_bias else None
        return grad_input.to(x.dtype), grad_weight, grad_bias, None, None


def _statistics(x: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Count, mean and biased variance per channel of what is here, if anything is."""
    channels = x.shape[1]
    count = x.numel() // max(channels, 1)
    if not count:
        return 0, *x.new_zeros((2, channels), dtype=torch.float64)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mean = sums(wide) / count
    left, variance = centered_moments(wide - along(mean, wide), count=count)
    return count, mean.double() + left, variance


def synchronize_(model: nn.Module, *, group: Any = None) -> Edits:
    """Let every BatchNorm of a model take its statistics over all ranks, and keep whatever else it does.

    A layer keeps its class as a base, so its own `forward`, attributes, parameters, buffers, hooks and state-dict keys
    stay; what `nn.BatchNorm` computes inside of it is synchronized. A subclass that computes its normalization by
    itself, without `super().forward`, is refused.

    Args:
        model: Any module; changed in place.
        group: The process group; the default one if None.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm2d(3))
        >>> edits = synchronize_(model)
        >>> isinstance(model[0], nn.BatchNorm2d) and isinstance(model[0], SyncBatchNorm)
        True
        >>> edits.undo()
        >>> type(model[0]).__name__
        'BatchNorm2d'
    """
    attributes = {} if group is None else {"process_group": group}
    return convert_(model, SyncBatchNorm, action="synchronize", **attributes)

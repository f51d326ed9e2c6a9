"""Normalizing with statistics that are not those of a whole tensor: few passes over it, forward and backward."""

from typing import Any

import torch
from torch import Tensor

__all__ = [
    "MaskedNormalize",
    "along",
    "centered_moments",
    "differentiable_gradients",
    "input_gradient",
    "normalized_where",
    "sums",
]


def along(values: Tensor, like: Tensor) -> Tensor:
    """(C,) to where it lies along axis 1 of another tensor, in its dtype."""
    return values.to(like.dtype).view(1, -1, *[1] * (like.dim() - 2))


def sums(x: Tensor) -> Tensor:
    """(N, C, …) → (C,) per channel."""
    return x.sum([axis for axis in range(x.dim()) if axis != 1])


def centered_moments(centered: Tensor, *, count: float) -> tuple[Tensor, Tensor]:
    """What rounding left of the mean in values from which it was subtracted, and their variance, of `count` values."""
    if centered.dim() > 2:  # a norm over contiguous values is several times faster than a variance
        squares = torch.linalg.vector_norm(centered.flatten(2), dim=-1).square().sum(0)
    else:
        squares = centered.square().sum(0)
    left = sums(centered) / count
    return left, (squares / count - left.square()).clamp_min(0)


def input_gradient(gradient: Tensor, centered: Tensor, *, scale: Tensor, shift: Tensor, slope: Tensor) -> Tensor:
    """scale·(gradient − shift) − slope·centered, written over `gradient`."""
    gradient.mul_(along(scale, gradient)).addcmul_(centered, along(-slope, gradient))
    return gradient.sub_(along(scale * shift, gradient))


def normalized_where(
    valid: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The valid values normalized by themselves, 0 elsewhere; mean, variance and count. Steps that torch derives."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    count = valid.sum()
    mean = sums(torch.where(valid, wide, 0.0)) / count.clamp_min(1)
    centered = torch.where(valid, wide - along(mean, wide), 0.0)
    variance = sums(centered.square()) / count.clamp_min(1)
    output = centered * along((variance + eps).rsqrt(), wide)
    if weight is not None:
        output = output * along(weight, wide)
    if bias is not None:
        output = output + along(bias, wide)
    return torch.where(valid, output, 0.0).to(x.dtype), mean, variance, count


def differentiable_gradients(
    gradient: Tensor, x: Tensor, mask: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float
) -> tuple[Tensor | None, ...]:
    """Gradients of x, mask (None), γ and β, through which gradients flow in turn, as gradient penalties have it."""
    # Aliases, as γ may itself depend on x.
    x, weight, bias = x.view_as(x), *(None if part is None else part.view_as(part) for part in (weight, bias))
    inputs, valid = (x, weight, bias), mask.unsqueeze(1) if mask.dim() < x.dim() else mask
    output = normalized_where(valid > 0, x, weight, bias, eps=eps)[0]
    wanted = [part for part in inputs if part is not None and part.requires_grad]
    found = iter(torch.autograd.grad(output, wanted, gradient, create_graph=True))
    x_gradient, *others = (next(found) if part is not None and part.requires_grad else None for part in inputs)
    return x_gradient, None, *others


class MaskedNormalize(torch.autograd.Function):
    """(x − mean)/√(var + eps)·γ + β where the mask is 1, by the values there; 0 elsewhere. Also mean, var, count.

    Several times faster than taking the valid values out and putting them back, where most are valid.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
        """`mask` is (N, 1, …) in the dtype of x."""
        count = float(mask.sum())
        centered = x * mask
        mean = sums(centered) / count
        if not bool(mean.isfinite().all()):  # 0·NaN: something stands in the padding
            centered = torch.where(mask > 0, x, 0.0)
            mean = sums(centered) / count
        centered.addcmul_(along(mean, x), mask, value=-1)
        left, variance = centered_moments(centered, count=count)
        inverse = (variance + eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        shift = -left * scale if bias is None else bias - left * scale
        ctx.count, ctx.eps = count, eps
        ctx.save_for_backward(x, mask, weight, bias, centered, scale, inverse, left)
        output = (centered * along(scale, x)).addcmul_(along(shift, x), mask)
        mean = mean + left
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> Any:
        """The gradient of the valid values; 0 elsewhere, whatever came in there."""
        x, mask, weight, bias, centered, scale, inverse, left = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            return *differentiable_gradients(gradient, x, mask, weight, bias, eps=ctx.eps), None
        product = centered * gradient
        slope = sums(product)
        if not bool(slope.isfinite().all()):
            gradient = torch.where(mask > 0, gradient, 0.0)
            slope = sums(torch.mul(centered, gradient, out=product))
        masked = torch.mul(gradient, mask, out=product)
        total = sums(masked)
        slope = (slope - left * total) * inverse
        # The padding of `centered` is 0, and only the constant has to be kept out of it.
        down = scale * inverse * slope / ctx.count
        masked.mul_(along(scale, masked)).addcmul_(centered, along(-down, masked))
        masked.addcmul_(along(down * left - scale * total / ctx.count, masked), mask)
        return masked, None, None if weight is None else slope, None if bias is None else total, None

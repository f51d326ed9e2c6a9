"""Normalizations: x − m over s, with m and s from the very elements that the norm looks at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from onesigma.model.prediction.laws import once
from onesigma.model.prediction.signal import Signal
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["NORMS"]

_ALIKE = 0.1  # relative spread of γ² up to which rows of one mean square keep one


def _batch_norm(step: Step) -> Signal:
    x = step.signal().plain
    training = step.arguments.get("training", step.arguments.get("use_input_stats", False))
    if step.op.arguments[1] != "running_mean" or isinstance(training, torch.Tensor):
        training = step.call.training  # the spelling of torch.batch_norm, whose flag has another place
    running = step.optional("running_mean"), step.optional("running_var")
    axes = [0, *range(2, x.base_mean.dim())]
    if training or running[0] is None or running[1] is None:
        mean = x.mean.mean(axes, keepdim=True)
        var = x.var.mean(axes, keepdim=True) + (x.mean - mean).square().mean(axes, keepdim=True)
    else:
        mean, var = (_along(value, x, axis=1) for value in running if value is not None)
    return _affine(step, x, mean=mean, var=var, axis=1)


def _affine(step: Step, x: Signal, *, mean: torch.Tensor, var: torch.Tensor, axis: int, eps: float = 1e-5) -> Signal:
    """(x − mean)/√(var + eps)·weight + bias."""
    eps = float(step.arguments.get("eps") or eps)
    scale = (var + eps).rsqrt()
    weight, bias = step.optional("weight"), step.optional("bias")
    if weight is not None:
        scale = scale * _along(weight, x, axis=axis)
    shift = -mean * scale + (_along(bias, x, axis=axis) if bias is not None else 0.0)
    return x.fresh((x.mean * scale + shift).expand(x.shape), (x.var * scale.square()).expand(x.shape))


def _scaled(step: Step, x: Signal) -> Signal:
    """weight·x + bias along channels."""
    weight, bias = step.optional("weight"), step.optional("bias")
    scale = _along(weight, x, axis=1) if weight is not None else torch.ones(())
    shift = _along(bias, x, axis=1) if bias is not None else torch.zeros(())
    return x.fresh(x.mean * scale + shift, x.var * scale.square())


def _along(value: torch.Tensor, x: Signal, *, axis: int) -> torch.Tensor:
    """A vector laid along one axis; what has several axes belongs to the last ones."""
    if value.dim() > 1 or axis < 0:
        return value
    return value.reshape(*(-1 if place == axis else 1 for place in range(x.base_mean.dim())))


def _layer_norm(step: Step) -> Signal:
    x = step.signal().plain
    shape = step.arguments["normalized_shape"]
    axes = list(range(-len(tuple(shape)) if isinstance(shape, Sequence) else -1, 0))
    mean = x.mean.mean(axes, keepdim=True)
    shared = (x.mean - mean).square().mean(axes, keepdim=True)
    own = x.var.mean(axes, keepdim=True)
    return _evened(step, _affine(step, x, mean=mean, var=own + shared, axis=-1), own=own, shared=shared)


def _evened(step: Step, x: Signal, *, own: torch.Tensor, shared: torch.Tensor) -> Signal:
    """Where each sample is divided by its own size, only what samples share keeps them uneven."""
    left = float(shared.mean() / (own + shared).mean().clamp(min=1e-30))
    weight = step.optional("weight")
    squares = torch.ones(2) if weight is None else weight.square()
    leveled = float(squares.std()) <= _ALIKE * float(squares.mean()) if squares.numel() > 1 else True
    return replace(x, unevenness=x.unevenness * left**2, leveled=leveled)


def _rms_norm(step: Step) -> Signal:
    x = step.signal().plain
    axes = list(range(-len(tuple(step.arguments["normalized_shape"])), 0))
    own, shared = x.var.mean(axes, keepdim=True), x.mean.square().mean(axes, keepdim=True)
    made = _affine(step, x, mean=torch.zeros(()), var=own + shared, axis=-1, eps=torch.finfo(torch.float32).eps)
    return _evened(step, made, own=own, shared=shared)


def _group_norm(step: Step) -> Signal:
    """Also instance norm: a sample's own mean over positions is taken away, and with it what positions share."""
    x = step.signal().plain
    channels = x.base_mean.shape[1]
    groups = int(step.arguments["num_groups"]) if "group" in step.call.op else channels
    if "instance" in step.call.op and step.optional("running_mean") is not None and not step.call.training:
        raise Unpredictable("instance_norm with running statistics")
    shared = _shared_by_positions(x) / (channels // groups)
    shape = (x.base_mean.shape[0], groups, -1)

    def moments(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, left = mean.reshape(mean.shape[0], *shape[1:]), var.reshape(mean.shape[0], *shape[1:]) * (1 - shared)
        centered = rows - rows.mean(-1, keepdim=True)
        whole = (centered.square() + left).mean(-1, keepdim=True) + float(step.arguments.get("eps", 1e-5))
        return (centered * whole.rsqrt()).reshape(mean.shape), (left / whole).reshape(mean.shape)

    mean, var = once(moments, x.base_mean, x.base_var)
    return _scaled(step, x.fresh(mean, var))


def _shared_by_positions(x: Signal) -> float:
    """Mean correlation of two positions of a channel: the share of variance that is in the channel's mean."""
    line = x.sites[0, 0].reshape(-1)
    if line.numel() == 1 or bool((line == line[0]).all()):
        return 0.0
    step = max(1, line.numel() // 1024)
    return float(x.kernel.between(line[::step, None], line[None, ::step]).mean())


def _normalize(step: Step) -> Signal:
    """x/‖x‖."""
    if float(step.arguments.get("p", 2.0)) != 2:
        raise Unpredictable("normalize with p other than 2")
    x, axis = step.signal().plain, int(step.arguments.get("dim", 1))
    norm = (x.var + x.mean.square()).sum(axis, keepdim=True).clamp(min=1e-24)
    return x.fresh(x.mean * norm.rsqrt(), x.var / norm)


NORMS: Mapping[str, Rule] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _group_norm,
    "normalize": _normalize,
}

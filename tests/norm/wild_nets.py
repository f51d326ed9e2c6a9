"""Random networks in which layers are what strangers make of them: hooked, tied, parametrized, cast, frozen, broken."""

import runpy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from onesigma.norm import BatchNormLast, BatchRenorm, GhostBatchNorm, SyncBatchNorm, freeze_

__all__ = ["wild_net"]

Builder: Any = runpy.run_path(str(Path(__file__).with_name("random_nets.py")))["Builder"]

BATCH_NORMS = nn.modules.batchnorm._BatchNorm


class ReadsWeight(nn.Module):
    """A layer's weight read by a function, beside the layer."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.layer.weight)


class ReadsNorm(nn.Module):
    """A norm's buffers read by a function, beside the norm."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


class OwnNorm(nn.Module):
    """No BatchNorm by class, but by what it does."""

    def __init__(self, mean: Tensor, variance: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.variance, self.weight, None)


class ActivatedNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))


class Cast(nn.Module):
    """A layer in float32 whatever the model is in."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.float()

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.float()).to(x.dtype)


def doubling(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output * 2


def scaling(module: nn.Module, args: Any) -> Any:
    return (args[0] * 1.5,)


class Wild(Builder):
    """Every step may come in a form that a folding tool does not expect."""

    def norm(self, at: int) -> Any:
        name, norm, reads = super().norm(at)
        make = self.pick.choice(
            [self.plain] * 4
            + [self.untracked, self.cumulative, self.tiny, self.huge, self.broken, self.frozen]
            + [self.converted, self.own, self.activated, self.last, self.read, self.instance]
        )
        norm = make(norm, self.results[at]) or norm
        if self.pick.random() < 0.04:
            norm.register_forward_hook(doubling)
        return name, norm, reads

    def plain(self, norm: Any, x: Tensor) -> None:
        """As it is."""

    def untracked(self, norm: Any, x: Tensor) -> None:
        norm.track_running_stats, norm.running_mean, norm.running_var, norm.num_batches_tracked = (
            False,
            None,
            None,
            None,
        )

    def cumulative(self, norm: Any, x: Tensor) -> None:
        norm.momentum = None

    def tiny(self, norm: Any, x: Tensor) -> None:
        norm.running_var.mul_(10.0 ** self.pick.choice([-30, -12, -8, -4]))
        norm.running_var[0] = 0

    def huge(self, norm: Any, x: Tensor) -> None:
        norm.running_var.mul_(10.0 ** self.pick.choice([4, 8, 12]))
        norm.running_mean.mul_(10.0 ** self.pick.choice([2, 4]))

    def broken(self, norm: Any, x: Tensor) -> None:
        self.pick.choice([norm.running_mean, norm.running_var])[0] = self.pick.choice([float("nan"), float("inf")])

    def frozen(self, norm: Any, x: Tensor) -> None:
        freeze_(norm.train())

    def converted(self, norm: Any, x: Tensor) -> Any:
        kinds = [SyncBatchNorm, BatchRenorm, nn.SyncBatchNorm, lambda channels: GhostBatchNorm(channels, ghost_size=2)]
        return self.with_statistics(self.pick.choice(kinds)(x.shape[1]))

    def own(self, norm: Any, x: Tensor) -> Any:
        mean, variance, weight = (self.normal(x.shape[1]) for _ in range(3))
        return OwnNorm(mean, variance.abs() + 0.2, weight).eval()

    def activated(self, norm: Any, x: Tensor) -> Any:
        return self.with_statistics(ActivatedNorm(x.shape[1])) if x.dim() == 4 else None

    def last(self, norm: Any, x: Tensor) -> Any:
        return self.with_statistics(BatchNormLast(x.shape[-1])) if x.dim() == 3 else None

    def read(self, norm: Any, x: Tensor) -> Any:
        known = [
            m
            for _, m in self.modules
            if isinstance(m, BATCH_NORMS) and m.num_features == x.shape[1] and m.track_running_stats
        ]
        return ReadsNorm(self.pick.choice(known)) if known else None

    def instance(self, norm: Any, x: Tensor) -> Any:
        kinds = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
        return kinds[x.dim()](x.shape[1], track_running_stats=True).double().eval() if x.dim() in kinds else None

    def with_statistics(self, norm: Any) -> Any:
        norm.running_mean.copy_(self.normal(norm.num_features))
        norm.running_var.copy_(self.normal(norm.num_features).abs() + 0.2)
        return self.drawn(norm)

    def drawn(self, layer: Any) -> Any:
        layer = super().drawn(layer)
        if not isinstance(getattr(layer, "weight", None), nn.Parameter) or layer.weight.dim() < 2:
            return layer
        chance = self.pick.random()
        if chance < 0.04:
            layer = parametrizations.weight_norm(layer)
        elif chance < 0.08:
            layer.register_forward_hook(doubling)
        elif chance < 0.10:
            layer.register_forward_pre_hook(scaling)
        elif chance < 0.14:
            twins = [m for _, m in self.modules if type(m) is type(layer) and m.weight.shape == layer.weight.shape]
            layer.weight = self.pick.choice(twins).weight if twins else layer.weight
        elif chance < 0.17:
            layer.weight = nn.Parameter(layer.weight.detach() * 10.0 ** self.pick.choice([-6, 6]))
        return layer.eval()

    def linear(self, at: int) -> Any:
        known = [m for _, m in self.modules if isinstance(m, nn.Linear) and m.in_features == self.results[at].shape[-1]]
        if known and self.pick.random() < 0.08:
            return "weight read", ReadsWeight(self.pick.choice(known)), (at,)
        name, layer, reads = super().linear(at)
        return (name, Cast(layer).eval(), reads) if self.pick.random() < 0.04 else (name, layer, reads)


def wild_net(seed: int) -> tuple[nn.Module, Any]:
    """A network in float64 and in eval mode, and its builder."""
    builder = Wild(seed)
    return builder.build(builder.pick.choice([4, 8, 14, 20])), builder

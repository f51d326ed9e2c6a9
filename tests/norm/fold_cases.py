"""The hard cases of folding: a model each, and what must become of its norms. For tests and for the table in docs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """`folds` says, norm by norm in order of execution, whether it must be folded (True) or refused (False)."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    folds: tuple[bool, ...]
    says: str = ""
    adjust: Callable[[Any], object] = lambda model: None

    def model(self) -> nn.Module:
        """In eval mode, with weights and statistics that show every mistake."""
        torch.manual_seed(0)
        model = with_statistics(self.build()).eval()
        with torch.no_grad():
            self.adjust(model)
        return model

    def batch(self) -> torch.Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1))


def with_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.3, 2, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, generator=generator)
    return model


class Wired(nn.Module):
    """Parts by name, and a forward that is given as a function of them."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.wiring = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.wiring(self, x)


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class NormWithActivation(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


class OtherConv(nn.Conv2d):
    pass


class Frozen(nn.Module):
    """As detection code freezes a norm: buffers, and one multiplication."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(channels) + 0.5)
        self.register_buffer("shift", torch.randn(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[:, None, None] + self.shift[:, None, None]


class InputLayer(nn.Module):
    def __init__(self, columns: int, *, clip: float | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.arange(columns, dtype=torch.float32))
        self.register_buffer("std", torch.arange(1, columns + 1, dtype=torch.float32))
        self.clip = clip
        self.affine = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x - self.mean) / self.std
        return y if self.clip is None else y.clamp(-self.clip, self.clip)


def conv(channels: int = 4, out: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, **{"padding": 1, **options})


def wired(forward: Callable[[Any, torch.Tensor], Any], **parts: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Wired(forward, **{name: part() for name, part in parts.items()})


def build(parts: Callable[[], list[nn.Module]]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*parts())


def hooked(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, args, output: output * 2)
    return module


class Doubled(torch.autograd.Function):
    """Which no torch function is called for."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def _under_autocast(model: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model.bn(model.c(x))


def watched(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda module, args, output: None)
    return module


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.BatchNorm1d(4), nn.ReLU(), second)


class AlwaysTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> "AlwaysTraining":
        return super().train(True)


IMAGE = (2, 4, 9, 9)
B2 = lambda channels=4, **options: nn.BatchNorm2d(channels, **options)  # noqa: E731
B1 = lambda channels=4, **options: nn.BatchNorm1d(channels, **options)  # noqa: E731

FOLDED = {
    "conv1d": Case(build(lambda: [nn.Conv1d(3, 4, 3, padding=1), B1()]), (2, 3, 9), (True,)),
    "conv2d": Case(build(lambda: [conv(), B2()]), IMAGE, (True,)),
    "conv3d": Case(build(lambda: [nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4)]), (2, 2, 5, 5, 5), (True,)),
    "conv stride dilation": Case(build(lambda: [conv(stride=2, dilation=2), B2()]), IMAGE, (True,)),
    "conv grouped": Case(build(lambda: [conv(groups=2), B2()]), IMAGE, (True,)),
    "conv depthwise": Case(build(lambda: [conv(groups=4, out=8), B2(8)]), IMAGE, (True,)),
    "conv same": Case(build(lambda: [conv(padding="same", bias=False), B2()]), IMAGE, (True,)),
    "conv circular": Case(build(lambda: [conv(padding_mode="circular"), B2()]), IMAGE, (True,)),
    "conv no bias": Case(build(lambda: [conv(bias=False), B2(affine=False)]), IMAGE, (True,)),
    "conv relu after": Case(build(lambda: [conv(), B2(), nn.ReLU()]), IMAGE, (True,)),
    "conv relu in place": Case(build(lambda: [conv(), B2(), nn.ReLU(inplace=True)]), IMAGE, (True,)),
    "linear": Case(build(lambda: [nn.Linear(5, 4), B1()]), (8, 5), (True,)),
    "linear, norm without affine": Case(build(lambda: [nn.Linear(5, 4), B1(affine=False)]), (8, 5), (True,)),
    "linear 3-D, one channel": Case(build(lambda: [nn.Linear(9, 7), B1(1)]), (5, 1, 9), (True,)),
    "linear, transposed, norm": Case(
        build(lambda: [nn.Linear(9, 7), Transposed(), B1(7), Transposed()]), (5, 6, 9), (True,)
    ),
    "transposed conv": Case(build(lambda: [nn.ConvTranspose2d(4, 6, 3, 2), B2(6)]), IMAGE, (True,)),
    "transposed conv 1d": Case(build(lambda: [nn.ConvTranspose1d(4, 6, 3), B1(6)]), (2, 4, 9), (True,)),
    "transposed conv grouped": Case(
        build(lambda: [nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), B2(6)]), IMAGE, (True,)
    ),
    "transposed conv depthwise": Case(build(lambda: [nn.ConvTranspose2d(4, 4, 3, groups=4), B2()]), IMAGE, (True,)),
    "norm, linear": Case(build(lambda: [nn.ReLU(), B1(5), nn.Linear(5, 3)]), (8, 5), (True,)),
    "norm, linear without bias": Case(build(lambda: [B1(5), nn.Linear(5, 3, bias=False)]), (8, 5), (True,)),
    "norm, transposed, linear": Case(build(lambda: [B1(4), Transposed(), nn.Linear(4, 3)]), (8, 4, 5), (True,)),
    "norm, flatten, linear": Case(build(lambda: [B2(), nn.Flatten(), nn.Linear(324, 3)]), IMAGE, (True,)),
    "norm, pool, linear": Case(
        build(lambda: [nn.ReLU(), B2(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]), IMAGE, (True,)
    ),
    "norm, mean, linear": Case(
        wired(lambda m, x: m.fc(m.bn(x).mean((2, 3))), bn=B2, fc=lambda: nn.Linear(4, 3)), IMAGE, (True,)
    ),
    "norm, conv": Case(build(lambda: [B2(), conv(padding=0)]), IMAGE, (True,)),
    "norm, padded conv": Case(build(lambda: [nn.ReLU(), B2(), conv()]), IMAGE, (True,)),
    "norm, conv padded same": Case(build(lambda: [B2(), nn.Conv2d(4, 3, (2, 4), padding="same")]), IMAGE, (True,)),
    "norm, padded conv1d": Case(build(lambda: [B1(), nn.Conv1d(4, 3, 5, padding=2, stride=2)]), (2, 4, 9), (True,)),
    "norm, padded conv grouped": Case(build(lambda: [B2(), conv(out=6, groups=2)]), IMAGE, (True,)),
    "norm, padded conv depthwise": Case(build(lambda: [B2(), conv(out=8, groups=4)]), IMAGE, (True,)),
    "norm, reflecting conv": Case(build(lambda: [B2(), conv(padding_mode="reflect")]), IMAGE, (True,)),
    "norm, replicating conv": Case(build(lambda: [B2(), conv(padding_mode="replicate")]), IMAGE, (True,)),
    "norm, circular conv": Case(build(lambda: [B2(), conv(padding_mode="circular")]), IMAGE, (True,)),
    "norm, reflection pad, conv": Case(build(lambda: [B2(), nn.ReflectionPad2d(1), conv(padding=0)]), IMAGE, (True,)),
    "norm, grouped conv": Case(build(lambda: [B2(), conv(out=6, groups=2, padding=0)]), IMAGE, (True,)),
    "norm, depthwise conv": Case(build(lambda: [B2(), conv(out=8, groups=4, padding=0)]), IMAGE, (True,)),
    "conv, average pool, norm": Case(build(lambda: [conv(), nn.AvgPool2d(2), B2()]), IMAGE, (True,)),
    "conv, pool padded but not counted, norm": Case(
        build(lambda: [conv(), nn.AvgPool2d(3, padding=1, count_include_pad=False), B2()]), IMAGE, (True,)
    ),
    "conv, nearest, norm": Case(build(lambda: [conv(), nn.Upsample(scale_factor=2), B2()]), IMAGE, (True,)),
    "conv, bilinear, norm": Case(
        build(lambda: [conv(), nn.Upsample(scale_factor=2, mode="bilinear"), B2()]), IMAGE, (True,)
    ),
    "conv, max pool, norm": Case(build(lambda: [conv(), nn.MaxPool2d(2), B2()]), IMAGE, (True,)),
    "conv, dropout, norm": Case(build(lambda: [conv(), nn.Dropout(0.5), B2()]), IMAGE, (True,)),
    "conv, identity, norm": Case(build(lambda: [conv(), nn.Identity(), B2()]), IMAGE, (True,)),
    "linear, dropout, norm": Case(build(lambda: [nn.Linear(5, 4), nn.Dropout(0.5), B1()]), (8, 5), (True,)),
    "norm, dropout, linear": Case(build(lambda: [B1(5), nn.Dropout(0.5), nn.Linear(5, 4)]), (8, 5), (True,)),
    "norm, norm": Case(
        build(lambda: [conv(), B2(), B2(), nn.ReLU(), B2(), B2(), nn.Tanh()]), IMAGE, (True, True, True, False), "tanh"
    ),
    "norm, norm, linear": Case(
        build(lambda: [nn.ReLU(), B1(5), B1(5, affine=False), nn.Linear(5, 3)]), (8, 5), (True, True)
    ),
    "several consumers": Case(
        wired(lambda m, x: m.a(y := m.bn(x)) + m.b(y), bn=B2, a=lambda: conv(padding=0), b=lambda: conv(padding=0)),
        IMAGE,
        (True,),
    ),
    "shared conv and norm": Case(wired(lambda m, x: m.bn(m.c(m.bn(m.c(x)))), c=conv, bn=B2), IMAGE, (True,)),
    "two convs, one norm": Case(wired(lambda m, x: m.bn(m.a(x)) + m.bn(m.b(x)), a=conv, b=conv, bn=B2), IMAGE, (True,)),
    "keyword call": Case(wired(lambda m, x: m.bn(input=m.c(input=x)), c=conv, bn=B2), IMAGE, (True,)),
    "conv, channel shuffle, norm": Case(build(lambda: [conv(groups=2), nn.ChannelShuffle(2), B2()]), IMAGE, (True,)),
    "norm, channel shuffle, grouped conv": Case(
        build(lambda: [nn.ReLU(), B2(), nn.ChannelShuffle(2), conv(out=6, groups=2, padding=0)]), IMAGE, (True,)
    ),
    "conv, some of its channels, norm": Case(
        wired(lambda m, x: m.bn(m.c(x)[:, 1:]), c=lambda: conv(out=5), bn=B2), IMAGE, (True,)
    ),
    "norm, largest value of each channel, linear": Case(
        wired(lambda m, x: m.fc(m.bn(x).amax((2, 3))), bn=B2, fc=lambda: nn.Linear(4, 3)), IMAGE, (True,)
    ),
    "conv and norm under autocast": Case(wired(_under_autocast, c=conv, bn=B2), IMAGE, (True,)),
    "frozen norm": Case(build(lambda: [conv(), Frozen(4), nn.ReLU()]), IMAGE, (True,)),
    "input layer": Case(build(lambda: [InputLayer(5), nn.Linear(5, 3)]), (8, 5), (True,)),
    "sync norm": Case(build(lambda: [conv(), nn.SyncBatchNorm(4)]), IMAGE, (True,)),
    "statistics no longer tracked": Case(
        wired(lambda m, x: m.bn(m.c(x)), c=conv, bn=B2),
        IMAGE,
        (True,),
        adjust=lambda m: setattr(m.bn, "track_running_stats", False),
    ),
    "residual": Case(
        wired(lambda m, x: torch.relu(m.bn2(m.c2(torch.relu(m.bn1(m.c1(x))))) + x), c1=conv, bn1=B2, c2=conv, bn2=B2),
        IMAGE,
        (True, True),
    ),
}

REFUSED = {
    "linear 3-D, channels = features": Case(build(lambda: [nn.Linear(9, 7), B1(7)]), (5, 7, 9), (False,), "axis"),
    "linear 3-D": Case(build(lambda: [nn.Linear(9, 6), B1(7)]), (5, 7, 9), (False,), "axis"),
    "norm, linear on the other axis": Case(build(lambda: [B1(5), nn.Linear(5, 3)]), (8, 5, 5), (False,), "axis"),
    "conv, relu, norm": Case(build(lambda: [conv(), nn.ReLU(), B2()]), IMAGE, (False,), "relu"),
    "norm, relu, conv": Case(build(lambda: [B2(), nn.ReLU(), conv()]), IMAGE, (False,), "relu"),
    "conv, padded average pool, norm": Case(
        build(lambda: [conv(), nn.AvgPool2d(3, padding=1), B2()]), IMAGE, (False,), "lie on another axis"
    ),
    "conv, zero pad, norm": Case(build(lambda: [conv(), nn.ZeroPad2d(1), B2()]), IMAGE, (False,), "mixed"),
    "norm, zero pad, conv": Case(build(lambda: [B2(), nn.ZeroPad2d(1), conv(padding=0)]), IMAGE, (False,), "mixed"),
    "conv, max pool, γ < 0": Case(
        build(lambda: [conv(), nn.MaxPool2d(2), B2()]),
        IMAGE,
        (False,),
        "max pool",
        adjust=lambda m: m[2].weight[1].neg_(),
    ),
    "norm, padded conv, γ = 0": Case(
        build(lambda: [B2(), conv()]), IMAGE, (False,), "γ = 0", adjust=lambda m: m[0].weight[1].zero_()
    ),
    "norm, pixel shuffle, conv": Case(
        build(lambda: [B2(16), nn.PixelShuffle(2), conv(padding=0)]), (2, 16, 5, 5), (False,), "mixed"
    ),
    "norm, transposed conv": Case(build(lambda: [B2(), nn.ConvTranspose2d(4, 3, 3, 2)]), IMAGE, (False,), "place"),
    "two consumers of conv": Case(
        wired(lambda m, x: m.bn(y := m.c(x)) + y, c=conv, bn=B2), IMAGE, (False,), "read elsewhere"
    ),
    "conv output returned": Case(
        wired(lambda m, x: (m.bn(y := m.c(x)), y), c=conv, bn=B2), IMAGE, (False,), "read elsewhere"
    ),
    "several consumers, one in the way": Case(
        wired(lambda m, x: m.a(y := m.bn(x)) + torch.relu(y).sum(), bn=B2, a=lambda: conv(padding=0)),
        IMAGE,
        (False,),
        "relu",
    ),
    "shared conv, two norms": Case(
        wired(lambda m, x: m.a(m.c(x)) + m.b(m.c(2 * x)), c=conv, a=B2, b=B2), IMAGE, (False, False), "elsewhere"
    ),
    "shared conv, one call without norm": Case(
        wired(lambda m, x: m.bn(m.c(x)) + m.c(2 * x), c=conv, bn=B2), IMAGE, (False,), "elsewhere"
    ),
    "functional read of the weight": Case(
        wired(lambda m, x: m.bn(m.c(x)) + F.conv2d(x, m.c.weight, padding=1), c=conv, bn=B2), IMAGE, (False,), "read by"
    ),
    "weight norm of its own making": Case(
        wired(lambda m, x: m.bn(F.conv2d(x, m.c.weight / 2, padding=1)), c=conv, bn=B2), IMAGE, (False,), "function"
    ),
    "tied weights": Case(tied, (8, 4), (False,), "tied"),
    "tied memory": Case(
        build(lambda: [nn.Linear(4, 4), B1(), nn.ReLU(), nn.Linear(4, 4)]),
        (8, 4),
        (False,),
        "tied",
        adjust=lambda m: setattr(m[3].weight, "data", m[0].weight.data),
    ),
    "mask from the output of conv": Case(
        wired(lambda m, x: m.bn(y := m.c(x)) * (y > 0), c=conv, bn=B2), IMAGE, (False,), "read elsewhere"
    ),
    "unseen reader": Case(wired(lambda m, x: m.bn(y := m.c(x)) + Doubled.apply(y), c=conv, bn=B2), IMAGE, (False,), ""),
    "written in place": Case(wired(lambda m, x: m.bn(m.c(x).mul_(2)), c=conv, bn=B2), IMAGE, (False,), "mul"),
    "TorchScript norm": Case(build(lambda: [conv(), torch.jit.script(B2())]), IMAGE, (False,), "no BatchNorm"),
    "instance norm": Case(
        build(lambda: [conv(), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)]),
        IMAGE,
        (False,),
        "no BatchNorm",
    ),
    "hook on conv": Case(build(lambda: [hooked(conv()), B2()]), IMAGE, (False,), "comes before"),
    "watching hook on conv": Case(build(lambda: [watched(conv()), B2()]), IMAGE, (False,), "hook"),
    "hook on norm": Case(build(lambda: [conv(), hooked(B2())]), IMAGE, (False,), "hook"),
    "weight norm": Case(
        build(lambda: [parametrizations.weight_norm(conv()), B2()]), IMAGE, (False,), "parametrization"
    ),
    "spectral norm": Case(
        build(lambda: [parametrizations.spectral_norm(conv()), B2()]), IMAGE, (False,), "parametrization"
    ),
    "conv subclass": Case(build(lambda: [OtherConv(4, 4, 3), B2()]), IMAGE, (False,), "OtherConv"),
    "norm subclass": Case(build(lambda: [conv(), NormWithActivation(4)]), IMAGE, (False,), "subclass"),
    "no running statistics": Case(
        build(lambda: [conv(), B2(track_running_stats=False)]), IMAGE, (False,), "no running statistics"
    ),
    "norm never in eval": Case(build(lambda: [conv(), AlwaysTraining(4)]), IMAGE, (False,), "subclass"),
    "statistics not finite": Case(
        build(lambda: [conv(), B2()]), IMAGE, (False,), "finite", adjust=lambda m: m[1].running_var[1].fill_(torch.nan)
    ),
    "functional norm": Case(
        wired(lambda m, x: F.batch_norm(m.c(x), x.new_zeros(4), x.new_ones(4)), c=conv),
        IMAGE,
        (False,),
        "function call",
    ),
    "norm that does not run": Case(wired(lambda m, x: m.c(x), c=conv, bn=B2), IMAGE, (False,), "did not run"),
    "input layer that clips": Case(build(lambda: [InputLayer(5, clip=3.0), nn.Linear(5, 3)]), (8, 5), (False,), "clip"),
    "norm alone": Case(B2, IMAGE, (False,), "model's input"),
    "concatenation": Case(
        wired(lambda m, x: m.bn(torch.cat([m.a(x), m.b(x)], 1)), a=conv, b=conv, bn=lambda: B2(8)),
        IMAGE,
        (False,),
        "cat",
    ),
    "branch on the data": Case(
        wired(lambda m, x: m.bn(m.c(x)) if x[0, 0, 0, 0] < 0 else m.c(x), c=conv, bn=B2), IMAGE, (False,), ""
    ),
}


CASES = FOLDED | REFUSED

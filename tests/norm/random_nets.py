"""Random networks of everything that folding has to tell apart: for tests that compare before and after."""

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RandomNet", "random_batch", "random_net"]

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
CHANNELS = (2, 4, 6)

Step = tuple[str, Any, tuple[int, ...]]


class RandomNet(nn.Module):
    """A list of steps; each reads results of earlier ones and runs a module or a function."""

    def __init__(self, steps: list[Step], outputs: list[int]) -> None:
        super().__init__()
        modules = list(dict.fromkeys(run for _, run, _ in steps if isinstance(run, nn.Module)))
        names = {module: f"{type(module).__name__}{number}" for number, module in enumerate(modules)}
        self.parts = nn.ModuleDict({name: module for module, name in names.items()})
        # By name, so that a norm can be replaced.
        self.steps = [(name, names.get(run, run), reads) for name, run, reads in steps]
        self.outputs = outputs

    def forward(self, x: Tensor) -> Any:
        results = [x]
        for _, run, reads in self.steps:
            step = self.parts[run] if isinstance(run, str) else run
            results.append(step(*(results[index] for index in reads)))
        return tuple(results[index] for index in self.outputs)

    def extra_repr(self) -> str:
        return "; ".join(f"{i + 1} = {name}{reads}" for i, (name, _, reads) in enumerate(self.steps))


class Builder:
    """Grows a network while it runs it on one batch, so that every step fits."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.dimensions = self.pick.choice([0, 0, 1, 1, 2, 2, 2, 2, 3])
        size = [8] * self.dimensions if self.dimensions < 3 else [5] * 3
        self.shape = (3, self.pick.choice(CHANNELS), *size)
        self.steps: list[Step] = []
        self.results = [self.normal(*self.shape)]
        self.modules: list[tuple[str, nn.Module]] = []

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def build(self, num_steps: int) -> RandomNet:
        for _ in range(num_steps):
            self.grow()
        read = {index for _, _, reads in self.steps for index in reads}
        ends = [index for index in range(1, len(self.results)) if index not in read]
        if self.pick.random() < 0.1:
            ends.append(self.pick.randrange(1, len(self.results)))
        return RandomNet(self.steps, ends).double().eval()

    def grow(self) -> None:
        at = len(self.results) - 1 if self.pick.random() < 0.85 else self.pick.randrange(len(self.results))
        try:
            name, run, reads = self.pick.choice(self.choices(at))(at)
            with torch.no_grad():
                result = run(*(self.results[index].clone() for index in reads))
        except (RuntimeError, ValueError, NotImplementedError, IndexError):
            return
        if result.numel() and result.numel() < 20_000:
            self.steps.append((name, run, reads))
            self.results.append(result)
            if isinstance(run, nn.Module) and list(run.parameters()):
                self.modules.append((name, run))

    def choices(self, at: int) -> list[Callable[[int], Step]]:
        common = [self.norm] * 5 + [
            self.reused,
            self.activation,
            self.activation,
            self.join,
            self.through,
            self.through,
        ]
        spatial = self.results[at].dim() - 2
        if spatial > 0:
            return common + [self.conv] * 4 + [self.transposed, self.pool, self.pool, self.flat, self.linear]
        return [*common, self.linear, self.linear, self.linear]

    def conv(self, at: int) -> Step:
        x, pick = self.results[at], self.pick
        groups = pick.choice([1, 1, 1, 2, x.shape[1]])
        mode = pick.choice(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"])
        padding = pick.choice([0, 1, 1, 2]) if mode != "zeros" or pick.random() < 0.8 else "same"
        stride = 1 if padding == "same" else pick.choice([1, 1, 2])
        options = {"groups": groups, "padding": padding, "padding_mode": mode, "dilation": pick.choice([1, 1, 2])}
        kernel, out = pick.choice([1, 3, 3]), groups * pick.choice([1, 2, 3])
        make = CONVS[x.dim() - 2]
        return "conv", self.drawn(make(x.shape[1], out, kernel, stride, bias=pick.random() < 0.7, **options)), (at,)

    def transposed(self, at: int) -> Step:
        x, pick = self.results[at], self.pick
        groups = pick.choice([1, 2, x.shape[1]])
        make, options = TRANSPOSED[x.dim() - 2], {"groups": groups, "bias": pick.random() < 0.7}
        stride, padding = pick.choice([1, 2]), pick.choice([0, 1])
        return "transposed", self.drawn(make(x.shape[1], groups * 2, 3, stride, padding, **options)), (at,)

    def linear(self, at: int) -> Step:
        layer = nn.Linear(self.results[at].shape[-1], self.pick.choice(CHANNELS), bias=self.pick.random() < 0.7)
        return "linear", self.drawn(layer), (at,)

    def norm(self, at: int) -> Step:
        x, pick = self.results[at], self.pick
        norm = NORMS[x.dim() - 2](x.shape[1], affine=pick.random() < 0.8, eps=pick.choice([1e-5, 1e-3, 1.0]))
        norm.running_mean.copy_(self.normal(x.shape[1]))
        norm.running_var.copy_(self.normal(x.shape[1]).abs() + 0.2)
        if norm.affine:
            self.drawn(norm)
            if pick.random() < 0.6:
                norm.weight.data.abs_()
            if pick.random() < 0.1:
                norm.weight.data[0] = 0
        return "norm", norm, (at,)

    def drawn(self, layer: nn.Module) -> nn.Module:
        for parameter in layer.parameters():
            parameter.data = self.normal(*parameter.shape) * (0.5 if parameter.dim() > 1 else 1.0)
        return layer.double().eval()

    def reused(self, at: int) -> Step:
        if not self.modules:
            return "identity", nn.Identity(), (at,)
        name, module = self.pick.choice(self.modules)
        return f"{name} again", module, (at,)

    def activation(self, at: int) -> Step:
        return "activation", self.pick.choice([nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), torch.tanh, F.elu]), (at,)

    def pool(self, at: int) -> Step:
        dimensions, pick = self.results[at].dim() - 2, self.pick
        padding = pick.choice([0, 0, 1])
        average = AVERAGE_POOLS[dimensions](3, 2, padding, count_include_pad=pick.random() < 0.5)
        return (
            "pool",
            pick.choice([MAX_POOLS[dimensions](3, 2, padding), average, mean_over_space, max_over_space]),
            (at,),
        )

    def flat(self, at: int) -> Step:
        return "flatten", self.pick.choice([nn.Flatten(), lambda x: x.flatten(1)]), (at,)

    def join(self, at: int) -> Step:
        x = self.results[at]
        same = [i for i, other in enumerate(self.results) if other.shape == x.shape and i != at]
        near = [i for i, other in enumerate(self.results) if other.shape[2:] == x.shape[2:] and other.dim() == x.dim()]
        if same and self.pick.random() < 0.6:
            return (
                "join",
                self.pick.choice([torch.add, torch.sub, torch.mul, torch.maximum]),
                (at, self.pick.choice(same)),
            )
        return "concatenate", concatenated, (at, self.pick.choice(near))

    def through(self, at: int) -> Step:
        return "through", self.pick.choice(THROUGH), (at,)


def mean_over_space(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.dim())))


def max_over_space(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.dim())))


def concatenated(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x, y], 1)


THROUGH: list[Any] = [
    nn.Dropout(0.5),
    nn.Identity(),
    nn.Upsample(scale_factor=2),
    nn.ChannelShuffle(2),
    nn.ZeroPad2d(1),
    nn.ReflectionPad2d(1),
    nn.PixelShuffle(1),
    lambda x: x.transpose(1, -1),
    lambda x: x.transpose(1, -1).contiguous().transpose(1, -1),
    lambda x: x.flip(-1),
    lambda x: x.roll(1, 1),
    lambda x: x[:, ::2],
    lambda x: x[..., 1:],
    lambda x: x[:, [1, 0]],
    lambda x: x * 2,
    lambda x: x + 1,
    lambda x: x.mul_(0.5),
    lambda x: x.unsqueeze(-1).squeeze(-1),
    lambda x: x.reshape(x.shape[0], -1, *x.shape[2:]),
    lambda x: x.reshape(x.shape[0], x.shape[1] // 2, 2, *x.shape[2:]).flatten(1, 2),
    lambda x: F.pad(x, (1, 1)),
    lambda x: F.avg_pool1d(x, 2),
    lambda x: F.interpolate(x, scale_factor=2.0, mode="linear"),
    lambda x: F.dropout(x, 0.5, training=False),
    lambda x: x.chunk(2, 1)[1],
    lambda x: x.detach(),
    lambda x: x.clone(),
    lambda x: x.double(),
    lambda x: x.sort(1).values,
    lambda x: x.cumsum(-1),
    lambda x: x.softmax(1),
    lambda x: F.normalize(x, dim=1),
    lambda x: x.expand_as(x).clone(),
    lambda x: torch.where(x > 0, x, 0.1 * x),
    lambda x: x.masked_fill(x < -1, 0.0),
    lambda x: F.batch_norm(x, x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])),
    lambda x: F.layer_norm(x, x.shape[1:]),
    lambda x: x.movedim(1, -1).flatten(0, -2),
    lambda x: x.mean(0, keepdim=True).expand_as(x).clone(),
    lambda x: torch.cat([x, x], 1),
    lambda x: torch.stack([x, x], 1).flatten(1, 2),
]


def random_net(seed: int, *, num_steps: int = 14) -> tuple[RandomNet, Builder]:
    """A network in float64 and in eval mode."""
    builder = Builder(seed)
    return builder.build(num_steps), builder


def random_batch(builder: Builder) -> Tensor:
    """Another input of the shape that the network was built for."""
    return 2 * builder.normal(*builder.shape)

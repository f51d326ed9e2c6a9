"""Networks that strangers bring: recurrent, convolutional along time, U-shaped, attending, routing."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .data import seeded, standardized

__all__ = [
    "Made",
    "UNet",
    "Vision",
    "Writer",
    "drawn",
    "mlp",
    "pictures",
    "recurrent",
    "routed",
    "series",
    "temporal",
    "vectors",
    "words",
]

Data = tuple[torch.Tensor, torch.Tensor]


class Made(nn.Module):
    """Parts by name, and a function of them and the inputs."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.run(self, *inputs)


def vectors(seed: int, *, num: int = 256, features: int = 20, classes: int = 4) -> Data:
    generator = seeded(seed)
    x = torch.randn(num, features, generator=generator)
    scores = x @ torch.randn(features, classes, generator=generator)
    return x, (scores + 0.5 * torch.randn(num, classes, generator=generator)).argmax(1)


def series(seed: int, *, num: int = 96, length: int = 24, features: int = 4) -> Data:
    generator = seeded(seed)
    y = torch.randint(0, 3, (num,), generator=generator)
    time = torch.linspace(0, 6.0, length)[None, :, None] * (1 + y[:, None, None])
    x = torch.sin(time + torch.randn(num, 1, features, generator=generator))
    return standardized(x.flatten(0, 1)).reshape(x.shape), y


def pictures(seed: int, *, num: int = 96, size: int = 16) -> Data:
    generator = seeded(seed)
    y = torch.randint(0, 5, (num,), generator=generator)
    shapes = F.interpolate(torch.randn(5, 3, 4, 4, generator=generator)[y], size=size, mode="bilinear")
    x = shapes + 0.7 * torch.randn(num, 3, size, size, generator=generator)
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True), y


def words(seed: int, *, num: int = 24, length: int = 20) -> Data:
    ids = torch.randint(0, 60, (num, length), generator=seeded(seed))
    return ids[:, :-1], ids[:, 1:].flatten()


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, last: nn.Module | None = None) -> nn.Sequential:
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), act())]
    return nn.Sequential(*layers[:-1], *([last] if last else []))


def drawn(model: nn.Module, std: float) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


def recurrent(cell: type[nn.RNNBase] = nn.GRU, *, features: int = 4, width: int = 48) -> Made:
    def run(self: Any, x: torch.Tensor) -> Any:
        return self.out(self.rnn(x)[0][:, -1])

    return Made(run, rnn=cell(features, width, batch_first=True), out=nn.Linear(width, 3))  # type: ignore[arg-type]


def temporal(*, norm: bool = True) -> Made:
    def block(inp: int, out: int) -> list[nn.Module]:
        return [nn.Conv1d(inp, out, 5, padding=2, bias=not norm), *([nn.BatchNorm1d(out)] if norm else []), nn.ReLU()]

    body = nn.Sequential(*block(4, 32), *block(32, 32), nn.MaxPool1d(2), *block(32, 64))
    return Made(lambda self, x: self.head(self.body(x.transpose(1, 2)).mean(-1)), body=body, head=nn.Linear(64, 3))


class UNet(nn.Module):
    """Two levels; `out` channels per pixel."""

    def __init__(self, inp: int = 3, out: int = 1) -> None:
        super().__init__()
        self.down, self.deep, self.wide = self._block(inp, 16), self._block(16, 32), self._block(32, 16)
        self.up, self.out, self.pool = nn.ConvTranspose2d(32, 16, 2, 2), nn.Conv2d(16, out, 1), nn.MaxPool2d(2)

    def _block(self, inp: int, out: int) -> nn.Sequential:
        layers = nn.Conv2d(inp, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
        return nn.Sequential(*layers, nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())

    def forward(self, x: torch.Tensor) -> Any:
        near = self.down(x)
        far = self.up(self.deep(self.pool(near)))
        return self.out(self.wide(torch.cat([far, near], 1)))


class Block(nn.Module):
    """Pre-norm attention and a GELU branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> Any:
        num, length, width = x.shape
        heads = self.qkv(self.n1(x)).reshape(num, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(num, length, width)
        x = x + self.proj(seen)
        return x + self.outer(F.gelu(self.inner(self.n2(x))))


def small_start(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class Vision(nn.Module):
    """Patches of 4 × 4 behind a class token, at N(0, 0.02)."""

    def __init__(self, *, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, width, 4, 4), nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)
        small_start(self)

    def forward(self, x: torch.Tensor) -> Any:
        seen = self.patch(x).flatten(2).transpose(1, 2)
        seen = torch.cat([self.token.expand(len(x), -1, -1), seen], 1) + self.place
        return self.head(self.norm(self.blocks(seen))[:, 0])


class Writer(nn.Module):
    """A small GPT without a mask, at N(0, 0.02), its writers scaled down for depth."""

    def __init__(self, *, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(60, width), nn.Embedding(20, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 60, bias=False)
        small_start(self)
        for block in self.blocks:
            for writer in (block.proj, block.outer):  # type: ignore[union-attr]
                nn.init.normal_(writer.weight, std=0.02 / (2 * depth) ** 0.5)  # type: ignore[union-attr, arg-type]

    def forward(self, ids: torch.Tensor) -> Any:
        x = self.word(ids) + self.place(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x))).flatten(0, 1)


def routed(experts: int = 4) -> Made:
    """Four experts, each weighed by a softmax of its own logit."""

    def run(self: Any, x: torch.Tensor) -> Any:
        shares = self.gate(x).softmax(-1)
        return self.out(F.gelu(sum(shares[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))))

    parts = nn.ModuleList(mlp(20, 40, 40, act=nn.GELU) for _ in range(experts))
    return Made(run, gate=nn.Linear(20, experts), experts=parts, out=nn.Linear(40, 4))

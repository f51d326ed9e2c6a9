"""Small models of what real ones are made of: each has put a prediction wrong once, or might."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 256


class Attention(nn.Module):
    """Two residual layers: rotary or cosine attention."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.inner = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))
        self.outer = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.scale = nn.Parameter(torch.full((8, 1, 1), 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, inner, outer in zip(self.norms, self.inner, self.outer, strict=True):
            q, k, v = inner(norm(x)).view(*x.shape[:2], 3, 8, 32).permute(2, 0, 3, 1, 4)
            if self.kind == "cosine":
                logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.scale.exp()
                mixed = logits.softmax(-1) @ v
            else:
                mixed = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
            x = x + outer(mixed.transpose(1, 2).reshape(x.shape))
        return x


def rotated(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions."""
    length, width = x.shape[-2:]
    angles = torch.outer(torch.arange(length).float(), 1e4 ** (-torch.arange(0, width, 2) / width)).repeat(1, 2)
    half = torch.cat([-x[..., width // 2 :], x[..., : width // 2]], dim=-1)
    return x * angles.cos() + half * angles.sin()


class GatedConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv1d(64, 2 * WIDTH, 5, padding=2), nn.Linear(WIDTH, 10)
        self.inner = nn.ModuleList(nn.Conv1d(WIDTH, 2 * WIDTH, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.glu(self.first(x), 1)
        for inner in self.inner:
            x = (x + F.glu(inner(x), 1)) * math.sqrt(0.5)
        return self.head(x.mean(-1))


class AttentionPool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 128)
        self.score, self.head = nn.Linear(128, 1), nn.Linear(WIDTH, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.first(x))
        weights = self.score(torch.tanh(self.inner(x))).softmax(1)
        return self.head((weights * x).sum(1))


class CrossAttention(nn.Module):
    """Learned queries read a sequence, as in a Perceiver."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(0.02 * torch.randn(8, WIDTH))
        self.q, self.kv, self.out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 512), nn.GELU(), nn.Linear(512, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.latents.expand(len(x), -1, -1)
        parts = (self.q(self.norms[0](z)), *self.kv(self.norms[1](x)).chunk(2, -1))
        q, k, v = (part.reshape(len(x), -1, 8, 32).transpose(1, 2) for part in parts)
        z = z + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(z.shape))
        return z + self.mlp(self.norms[2](z))


class Recurrent(nn.Module):
    """One recurrent layer behind another: steps of the second have inputs that are alike."""

    def __init__(self, first: type[nn.RNNBase], second: type[nn.RNNBase]) -> None:
        super().__init__()
        self.first = first(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.second = second(2 * WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x)[0])[0])


class Cells(nn.Module):
    """A cell stepped by hand, over the sequence or on one input again and again."""

    def __init__(self, *, same: bool) -> None:
        super().__init__()
        self.same, self.cell, self.head = same, nn.GRUCell(WIDTH, WIDTH), nn.Linear(WIDTH, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(len(x), WIDTH)
        for time in range(8):
            state = self.cell(x[:, 0 if self.same else time], state)
        return self.head(state)


class Scan(nn.Module):
    """h ← f·h + (1 − f)·g, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, new = self.first(x).chunk(2, -1)
        keep, state, states = torch.sigmoid(gate), torch.zeros(len(x), WIDTH), []
        for time in range(x.shape[1]):
            state = keep[:, time] * state + (1 - keep[:, time]) * torch.tanh(new[:, time])
            states.append(state)
        return self.head(torch.stack(states, 1))


class Neighbors(nn.Module):
    """A function of a sequence between two layers."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.first, self.head = function, nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.function(self.first(x))))


class Excited(nn.Module):
    """Squeeze and excite behind a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, WIDTH, 3, 1, 1, groups=WIDTH)
        self.norm, self.squeeze, self.excite = nn.BatchNorm2d(WIDTH), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.last, self.head = nn.Conv2d(WIDTH, 64, 1), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.norm(self.depthwise(F.silu(self.first(x)))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return self.head(self.last(x * gate[:, :, None, None]).mean((2, 3)))


class Film(nn.Module):
    """Scale and shift from a second input, the same at all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.convs = nn.ModuleList(nn.Conv2d(inputs, WIDTH, 3, padding=1) for inputs in (3, WIDTH))
        self.films = nn.ModuleList(nn.Linear(WIDTH, 2 * WIDTH) for _ in range(2))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        condition = F.relu(self.embed(condition))
        for conv, film in zip(self.convs, self.films, strict=True):
            scale, shift = film(condition)[:, :, None, None].chunk(2, 1)
            x = F.relu(conv(x) * (1 + scale) + shift)
        return self.head(x.mean((2, 3)))


class ResNeXt(nn.Module):
    """In eval mode at torch's default start its blocks write little onto a positive stream."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, WIDTH, 3, 2, 1), nn.Linear(WIDTH, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(WIDTH, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
                *(nn.Conv2d(128, 128, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(128), nn.ReLU()),
                *(nn.Conv2d(128, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH)),
            )
            for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class Normed(nn.Module):
    """Root-mean-square norms written out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + F.silu(layer(x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)))
        return x


def pixel_shuffle() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.Conv2d(64, WIDTH, 3, padding=1)),
        *(nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(64, 3, 3, padding=1)),
    )


def sound() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv1d(64, 128, 7, 2, 3), nn.BatchNorm1d(128), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(128, WIDTH, 3, padding=2, dilation=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1)),
        *(nn.Flatten(), nn.Linear(WIDTH, 10)),
    )


def volumes() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv3d(2, 64, 3, padding=1), nn.BatchNorm3d(64), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(64, WIDTH, 3, 2, 1), nn.GroupNorm(8, WIDTH), nn.SiLU(), nn.AdaptiveAvgPool3d(1)),
        *(nn.Flatten(), nn.Linear(WIDTH, 10)),
    )


def separable() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU6()]
    for inputs, outputs, stride in ((64, 128, 1), (128, WIDTH, 2)):
        layers += [nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs)]
        layers += [nn.ReLU6(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))

"""Hand-written models of the zoo: what people also do to a weight, and what breaks a library that expects layers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .spellings import noise, tokens

__all__ = ["ODDITIES"]


class FrozenBias(nn.Module):
    """A bias that nobody may set to zero, beside a weight that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.second = nn.Linear(16, 64), nn.Conv1d(1, 4, 3), nn.Linear(4, 8)
        for layer in (self.first, self.conv):
            nn.init.normal_(layer.bias, mean=0.5, std=0.3)
            layer.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.conv(torch.relu(self.first(x))[:, None])).mean(-1))


class Hypernet(nn.Module):
    """One linear makes the weight of another."""

    def __init__(self) -> None:
        super().__init__()
        self.code, self.maker, self.head = nn.Parameter(torch.randn(4)), nn.Linear(4, 16 * 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(F.linear(x, self.maker(self.code).view(8, 16))))


class Modulated(nn.Module):
    """StyleGAN2's convolution: one weight per sample, modulated and demodulated, as a grouped convolution."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels, 3, 3))
        self.style, self.head = nn.Linear(4, channels), nn.Conv2d(channels, 3, 1)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        weight = self.weight * (self.style(z) + 1)[:, None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        maps = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight.flatten(0, 1), padding=1, groups=len(x))
        return self.head(F.leaky_relu(maps.view_as(x), 0.2))


class SharedMemory(nn.Module):
    """Two parameters over one memory, which is not what tying is."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(16, 32, bias=False), nn.Linear(32, 16, bias=False)
        self.decode.weight = nn.Parameter(self.encode.weight.T)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(torch.relu(self.encode(x)))


class Bags(nn.Module):
    """Sparse embeddings, rows held to a norm by the call itself, and a bag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(50, 16, sparse=True, max_norm=1.0)
        self.bag, self.head = nn.EmbeddingBag(50, 16, mode="sum"), nn.Linear(32, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.rows(ids).mean(1), self.bag(ids)], 1))


class Fourier(nn.Module):
    """A Fourier layer: complex weights between a transform and its inverse."""

    def __init__(self, modes: int = 9) -> None:
        super().__init__()
        self.lift, self.head = nn.Conv1d(8, 16, 1), nn.Conv1d(16, 2, 1)
        self.weight = nn.Parameter(torch.randn(16, 16, modes, dtype=torch.cfloat) / 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.lift(x)
        waves = torch.fft.rfft(x)
        mixed = torch.zeros_like(waves)
        mixed[..., :9] = torch.einsum("bik,iok->bok", waves[..., :9], self.weight)
        return self.head(F.gelu(torch.fft.irfft(mixed, n=x.shape[-1]) + x))


class InPlace(nn.Module):
    """Everything written over."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h.relu_().mul_(0.5).add_(1)
        y = self.second(h)
        y += h
        y.clamp_(min=0)
        h[:, :4] = y[:, 4:8]
        return self.third(y + h)


class Standardized(nn.Module):
    """Weight standardization, and an equalized learning rate whose bias is scaled as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(32, 16)), nn.Parameter(torch.randn(32, 32))
        self.gain, self.bias, self.head = (
            nn.Parameter(torch.ones(32, 1)),
            nn.Parameter(torch.ones(32)),
            nn.Linear(32, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = (self.first - self.first.mean(1, keepdim=True)) / self.first.std(1, keepdim=True)
        x = F.leaky_relu(F.linear(x, weight * self.gain), 0.2)
        return self.head(F.leaky_relu(F.linear(x, self.second * 0.0025, self.bias * 0.01), 0.2))


class Bare(nn.Module):
    """addmm, baddbmm, tensordot, mv and a broadcast product summed: linears that no layer owns."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(16, 32)), nn.Parameter(torch.ones(32))
        self.experts, self.shift = nn.Parameter(torch.randn(4, 32, 8)), nn.Parameter(torch.ones(4, 1, 8))
        self.cube, self.out, self.v = (nn.Parameter(torch.randn(s)) for s in ((2, 4, 8), (8, 8), (8,)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(torch.addmm(self.b, x, self.a, alpha=0.5, beta=2))
        x = F.silu(torch.baddbmm(self.shift, x.expand(4, -1, -1), self.experts)).mean(0)
        x = F.mish(torch.tensordot(x.view(-1, 2, 4), self.cube, dims=([1, 2], [0, 1])))
        return torch.mv(torch.relu((x[:, None] * self.out).sum(-1)), self.v)


@dataclass
class Output:
    """What `Answers` returns."""

    logits: torch.Tensor
    extra: Any = None


class Answers(nn.Module):
    """Nested mappings in, a dataclass with None out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, batch: Mapping[str, torch.Tensor], *, scale: float = 1.0) -> Output:
        return Output(self.second(F.elu(self.first(batch["x"]) * scale)) * batch["mask"])


class Projected(nn.Module):
    """An LSTM with projections, both ways, and attention over keys and values of other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(16, 20, 2, bidirectional=True, proj_size=8, batch_first=True)
        self.attend = nn.MultiheadAttention(
            16, 4, kdim=12, vdim=10, batch_first=True, add_bias_kv=True, add_zero_attn=True
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.cell(x)[0]
        return self.attend(states, states[..., :12], states[..., 6:])[0]


class Grouped(nn.Module):
    """Transposed, grouped, dilated, in three dimensions too."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(16, 32, 3, stride=2, groups=4, output_padding=1, padding=1)
        self.depth, self.mix = nn.Conv2d(32, 32, 3, groups=32, dilation=2), nn.Conv2d(32, 8, 1, groups=2)
        self.solid, self.wide = nn.Conv3d(1, 4, 3, padding="same"), nn.ConvTranspose3d(4, 2, 2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mix(F.relu6(self.depth(F.leaky_relu(self.up(x)))))
        return self.wide(F.celu(self.solid(x[:, None])))


def _half(dtype: torch.dtype) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8)).to(dtype)


ODDITIES: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "FrozenBias": (FrozenBias, lambda rows: noise(16 * rows, 16)),
    "Hypernet": (Hypernet, lambda rows: noise(16 * rows, 16)),
    "Modulated": (Modulated, lambda rows: ((noise(rows, 8, 8, 8), noise(rows, 4)), None)),
    "SharedMemory": (SharedMemory, lambda rows: noise(16 * rows, 16)),
    "Bags": (Bags, lambda rows: tokens(8 * rows, 5)),
    "Fourier": (Fourier, lambda rows: noise(rows, 8, 32)),
    "InPlace": (InPlace, lambda rows: noise(16 * rows, 16)),
    "Standardized": (Standardized, lambda rows: noise(16 * rows, 16)),
    "Bare": (Bare, lambda rows: noise(16 * rows, 16)),
    "Answers": (Answers, lambda rows: {"batch": {"x": noise(16 * rows, 16), "mask": torch.ones(16 * rows, 1)}}),
    "Projected": (Projected, lambda rows: noise(2 * rows, 6, 16)),
    "Grouped": (Grouped, lambda rows: noise(rows, 16, 8, 8)),
    "Bfloat16": (lambda: _half(torch.bfloat16), lambda rows: noise(16 * rows, 16).bfloat16()),
    "Float16": (lambda: _half(torch.float16), lambda rows: noise(16 * rows, 16).half()),
    "HugeInput": (lambda: _half(torch.float32), lambda rows: noise(16 * rows, 16) * 1e30),
    "TinyInput": (lambda: _half(torch.float64), lambda rows: noise(16 * rows, 16).double() * 1e-30),
    "Traced": (lambda: torch.fx.symbolic_trace(_half(torch.float32)), lambda rows: noise(16 * rows, 16)),
}

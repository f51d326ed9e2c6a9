"""Hand-written models of the zoo: the ways in which people write the same thing."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

__all__ = ["SPELLINGS", "noise", "tokens"]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tokens(rows: int, length: int, *, high: int = 50) -> torch.Tensor:
    return torch.randint(1, high, (rows, length), generator=torch.Generator().manual_seed(0))


class SwiGLU(nn.Module):
    """Llama's MLP with gate and value packed in one weight, and a residual stream."""

    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(depth))
        self.packed = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, packed, down in zip(self.norms, self.packed, self.down, strict=True):
            gate, value = packed(norm(x)).split(2 * x.shape[-1], dim=-1)
            x = x + down(F.silu(gate) * value)
        return x


class BatchedExperts(nn.Module):
    """A soft mixture of experts whose weights are one tensor (expert, in, out)."""

    def __init__(self, experts: int = 4, width: int = 24) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, 2 * width) / 5)
        self.down = nn.Parameter(torch.randn(experts, 2 * width, width) / 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.router(x).softmax(-1)
        hidden = F.gelu(torch.einsum("nd,edh->neh", x, self.up))
        return x + torch.einsum("ne,neh,ehd->nd", weight, hidden, self.down)


class Routed(nn.Module):
    """Top-1 experts in a loop over the experts, results written back by index_add_."""

    def __init__(self, experts: int = 3, width: int = 24) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, width)) for _ in range(experts)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, chosen = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).nonzero().squeeze(-1)
            out.index_add_(0, rows, expert(x[rows]) * weight[rows, None])
        return x + out


class Functional(nn.Module):
    """Bare parameters and functional calls alone."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"kernel": (8, 3, 3, 3), "first": (32, 8), "second": (32, 16), "gamma": (8,), "beta": (8,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape) / math.sqrt(math.prod(shape[1:]) or 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.group_norm(F.conv2d(x, self.kernel, padding=1), 2, self.gamma, self.beta))
        x = x.mean((2, 3)) @ self.first.T
        x.tanh_()
        return torch.where(x > 0, x, 0.1 * x) @ self.second


class Normed(nn.Module):
    """Weight norm, old and new, spectral norm, an orthogonal and a masked weight."""

    def __init__(self) -> None:
        super().__init__()
        self.new = parametrizations.weight_norm(nn.Linear(16, 32))
        self.conv = parametrizations.weight_norm(nn.Conv1d(8, 8, 3, padding=1), dim=1)
        self.spectral = parametrizations.spectral_norm(nn.Linear(32, 32))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(32, 32))
        self.old = nn.utils.weight_norm(nn.Linear(32, 32))
        self.pruned = nn.Linear(32, 8)
        prune.random_unstructured(self.pruned, "weight", 0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.new(x))
        x = x + self.conv(x.view(-1, 8, 4)).flatten(1)
        x = torch.tanh(self.spectral(x))
        x = torch.tanh(self.orthogonal(x))
        return self.pruned(F.relu(self.old(x)))


class LowRank(nn.Module):
    """LoRA on a frozen layer: A is drawn, B is zero on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(16, 16).requires_grad_(False)
        self.a, self.b = nn.Linear(16, 4, bias=False), nn.Linear(4, 16, bias=False)
        nn.init.zeros_(self.b.weight)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.base(x) + 2.0 * self.b(self.a(x))))


class Checkpointed(nn.Module):
    """Blocks under activation checkpointing, of either kind."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(24, 24), nn.Mish()) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, block in enumerate(self.blocks):
            x = checkpoint(block, x, use_reentrant=bool(i % 2))
        return x


class Decoder(nn.Module):
    """A small GPT: tied embedding, packed query, key and value, a causal product, pre-norm."""

    def __init__(self, width: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.heads, self.embed, self.place = heads, nn.Embedding(50, width), nn.Embedding(16, width)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.1))
            for _ in range(depth)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.head = nn.Linear(width, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> dict[str, Any]:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        for i, (qkv, out, mlp) in enumerate(zip(self.qkv, self.out, self.mlp, strict=True)):
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv(self.norm[2 * i](x)).chunk(3, -1)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + out(y.transpose(1, 2).flatten(2))
            x = x + mlp(self.norm[2 * i + 1](x))
        return {"logits": self.head(self.norm[-1](x)), "loss": None, "cache": ()}


class Transformer(nn.Module):
    """torch's own encoder and decoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.model(source, target)


class CrossAttention(nn.Module):
    """MultiheadAttention with keys and values of widths of their own, and biases for them."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, kdim=24, vdim=16, add_bias_kv=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, key, value)[0])


class Maxout(nn.Module):
    """maximum, minimum, where, clamp and a bilinear layer between linears."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 24), nn.Linear(16, 24)
        self.mix, self.pairs, self.head = nn.Linear(24, 24), nn.Bilinear(24, 24, 12), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.maximum(self.a(x), self.b(x))
        z = torch.minimum(self.mix(y), y).clamp(-2, 2)
        return self.head(torch.where(self.pairs(y, z) > 0, self.pairs(y, z), z[:, :12]))


class Splits(nn.Module):
    """Results taken apart as tuples: split, unbind, chunk, topk, sort; put together by stack."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(16, 24), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b, c = self.first(x).split(8, dim=-1)
        y = torch.stack([self.second(a), torch.relu(b), c]).sum(0)
        return (self.third(y), *y.unbind(-1), None, y.topk(2, -1).values, y.sort(-1)[0])


class Diffusion(nn.Module):
    """Time embedding by sines, adaptive norms that start at zero, as in DiT."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.adapt, self.norm = nn.Linear(width, 3 * width), nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU("tanh"), nn.Linear(64, width))
        self.head = nn.Linear(width, 48)
        for layer in (self.adapt, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        frequencies = torch.exp(-torch.arange(8) / 2)
        angles = t[:, None] * frequencies
        time = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        x = self.patch(x).flatten(2).transpose(1, 2)
        shift, scale, gate = self.adapt(F.silu(time))[:, None].chunk(3, -1)
        x = x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)
        return self.head(x)


SPELLINGS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "SwiGLU": (SwiGLU, lambda rows: noise(rows, 12, 32)),
    "BatchedExperts": (BatchedExperts, lambda rows: noise(8 * rows, 24)),
    "Routed": (Routed, lambda rows: noise(16 * rows, 24)),
    "Functional": (Functional, lambda rows: noise(4 * rows, 3, 8, 8)),
    "Normed": (Normed, lambda rows: noise(16 * rows, 16)),
    "LowRank": (LowRank, lambda rows: noise(16 * rows, 16)),
    "Checkpointed": (Checkpointed, lambda rows: noise(16 * rows, 24)),
    "Decoder": (Decoder, lambda rows: tokens(4 * rows, 16)),
    "Transformer": (Transformer, lambda rows: ((noise(rows, 10, 32), noise(rows, 7, 32)), None)),
    "CrossAttention": (
        CrossAttention,
        lambda rows: ((noise(6, rows, 32), noise(9, rows, 24), noise(9, rows, 16)), None),
    ),
    "Maxout": (Maxout, lambda rows: noise(16 * rows, 16)),
    "Splits": (Splits, lambda rows: noise(16 * rows, 16)),
    "Diffusion": (Diffusion, lambda rows: ((noise(rows, 3, 16, 16), torch.linspace(0, 1, rows)), None)),
}

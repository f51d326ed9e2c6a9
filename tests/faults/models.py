"""The networks that healthy and faulty cases are made of."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, norm: Any = None, init: Any = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers.append(nn.Linear(fan_in, fan_out, bias=norm is None or fan_out == widths[-1]))
        if init is not None:
            init(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias) if layers[-1].bias is not None else None
        if fan_out is not widths[-1] or len(layers) < 2 * (len(widths) - 2):
            layers.extend([*([norm(fan_out)] if norm is not None else []), act()])
    while not isinstance(layers[-1], nn.Linear):
        layers.pop()
    return nn.Sequential(*layers)


def he(weight: torch.Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def xavier(weight: torch.Tensor) -> None:
    nn.init.xavier_normal_(weight)


def lecun(weight: torch.Tensor) -> None:
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


class ResBlock(nn.Module):
    """The block of He et al. 2015, with the last norm started at zero."""

    def __init__(self, width: int, *, zero: bool = True) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        if zero:
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        y += x
        return F.relu(y)


def resnet(*, zero: bool) -> nn.Module:
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    model = nn.Sequential(*stem, *(ResBlock(16, zero=zero) for _ in range(4)), *head)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


class Attention(nn.Module):
    """Causal self-attention written by hand."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        q, k, v = (part.view(n, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        weights = scores.masked_fill(mask, float("-inf")).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, length, width))


class GPT(nn.Module):
    """Pre-norm blocks, weights N(0, 0.02), residual writers scaled by 1/√(2·depth), tied or free head."""

    def __init__(self, vocabulary: int = 65, width: int = 64, depth: int = 4, *, tied: bool = True) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(64, width)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks.append(Residual(nn.LayerNorm(width), Attention(width, 4)))
            mlp = (nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            blocks.append(Residual(nn.LayerNorm(width), *mlp))
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                is_writer = name.endswith(("out.weight", "branch.3.weight"))
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * depth) if is_writer else 1))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token(ids) + self.position(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class SwiGLU(nn.Module):
    """The feed-forward of Llama."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class LSTMTagger(nn.Module):
    """Embedding, LSTM with forget bias 1, head at every position."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, layers: int = 1) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = (
            nn.Embedding(65, 32),
            cell(32, 64, layers, batch_first=True),
            nn.Linear(64, 65),
        )
        for name, parameter in self.rnn.named_parameters():
            if cell is nn.LSTM and name.startswith("bias_ih"):
                with torch.no_grad():
                    parameter[64:128] += 1.0

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(ids))[0])


class HandLSTM(nn.Module):
    """An LSTM cell written with linears; its forget gate starts open, near saturation."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h, self.head = nn.Linear(8, 128), nn.Linear(32, 128, bias=False), nn.Linear(32, 3)
        with torch.no_grad():
            self.x.bias[32:64] += 5.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], 32)
        for step in range(x.shape[1]):
            i, f, g, o = (self.x(x[:, step]) + self.h(h)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


class LoRA(nn.Module):
    """A frozen linear with an adapter whose B starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.b(self.a(x))


class DiTBlock(nn.Module):
    """adaLN-zero: shift, scale and gate come from a condition through a linear that starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        return x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)


class DiT(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.inp, self.cond, self.out = nn.Linear(8, width), nn.Linear(4, width), nn.Linear(width, 8)
        self.blocks = nn.ModuleList(DiTBlock(width) for _ in range(4))
        nn.init.zeros_(self.out.weight)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        x, condition = self.inp(x), self.cond(condition)
        for block in self.blocks:
            x = block(x, condition)
        return self.out(x)


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * x


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.body = nn.EmbeddingBag(65, 32, mode="mean"), mlp(32, 64, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.body(self.bag(ids))


class UNet(nn.Module):
    """Two levels, skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.mid = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.up, self.head = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(16, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down(x)
        return self.head(torch.cat([a, self.up(self.mid(F.max_pool2d(a, 2)))], dim=1))


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(x.mean((2, 3)))[:, :, None, None]


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.log_var = nn.Linear(64, 64), nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.body(x))
        mean, log_var = self.mean(h), self.log_var(h)
        return self.decoder(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))


class GraphConv(nn.Module):
    """Mean over neighbors, by a normalized adjacency."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(20, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        adjacency = torch.eye(x.shape[0]) / 2 + torch.eye(x.shape[0]).roll(1, 0) / 2
        return self.two(adjacency @ F.relu(self.one(adjacency @ x)))


class Mixture(nn.Module):
    """A soft mixture: the softmax of the router weighs the experts."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.experts = nn.Linear(20, 4), nn.ModuleList(mlp(20, 32, 10) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.router(x).softmax(-1)
        return sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))

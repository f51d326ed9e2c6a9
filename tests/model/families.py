"""Small models of the families that predictions are held to, as their papers and popular code write them."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Packed projections; the product written out or torch's own."""

    def __init__(self, width: int, heads: int, *, written_out: bool = False, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.written_out, self.causal = heads, written_out, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(x).split(width, 2)
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        if self.written_out:
            logits = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(k.size(-1)))
            if self.causal:
                logits = logits.masked_fill(torch.tril(torch.ones(length, length)) == 0, float("-inf"))
            mixed = F.softmax(logits, dim=-1) @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).contiguous().view(batch, length, width))


class Experts(nn.Module):
    """Two of eight experts per token, their weights normalized."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, 8, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(8)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.reshape(-1, x.shape[-1])
        weights, chosen = torch.topk(F.softmax(self.router(tokens), dim=-1), 2)
        weights = weights / weights.sum(-1, keepdim=True)
        mixed = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            rows, place = torch.where(chosen == number)
            if rows.numel():
                mixed.index_add_(0, rows, expert(tokens[rows]) * weights[rows, place, None])
        return mixed.view_as(x)


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, *, causal: bool = True, written_out: bool = False, experts: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 8, causal=causal, written_out=written_out)
        dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp = Experts(width) if experts else dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    def __init__(self, *, recipe: bool = False, **options: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(1000, 256), nn.Embedding(64, 256)
        self.layers = nn.Sequential(*[Layer(256, **options) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 1000, bias=False)
        if recipe:
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, std=0.02)
            self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.layers(x)))


class RmsNorm(nn.Module):
    """Written out, as in Llama's own code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotated(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions."""
    length, width = x.shape[-2:]
    angles = torch.outer(torch.arange(length).float(), 1e4 ** (-torch.arange(0, width, 2) / width)).repeat(1, 2)
    half = torch.cat([-x[..., width // 2 :], x[..., : width // 2]], dim=-1)
    return x * angles.cos() + half * angles.sin()


class LlamaLayer(nn.Module):
    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(width), nn.RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = nn.Linear(width, width // 4, bias=False), nn.Linear(width, width // 4, bias=False)
        self.w1, self.w3 = nn.Linear(width, 688, bias=False), nn.Linear(width, 688, bias=False)
        self.w2 = nn.Linear(688, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        y = self.norm1(x)
        q, k, v = (part(y).view(batch, length, -1, 32).transpose(1, 2) for part in (self.q, self.k, self.v))
        k, v = (part.repeat_interleave(4, dim=1) for part in (rotated(k), v))
        mixed = F.scaled_dot_product_attention(rotated(q), k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(1000, 256)
        self.layers = nn.Sequential(*[LlamaLayer() for _ in range(3)])
        self.norm, self.head = RmsNorm(256), nn.Linear(256, 1000, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.layers(self.tokens(ids))))


class Vit(nn.Module):
    def __init__(self, *, torch_layers: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 256, 8, 8)
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, 256))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, 256))
        options = {"norm_first": True, "batch_first": True, "activation": "gelu", "dropout": 0.1}
        layers = [
            nn.TransformerEncoderLayer(256, 8, 1024, **options) if torch_layers else Layer(256, causal=False)
            for _ in range(3)
        ]
        self.layers, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(256), nn.Linear(256, 100)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.layers(x))[:, 0])


def double(inputs: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in (inputs, width):
        layers += [nn.Conv2d(number, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class Unet(nn.Module):
    def __init__(self, *, kernel: int = 2) -> None:
        super().__init__()
        widths = (64, 128, 256)
        self.down = nn.ModuleList(double(a, b) for a, b in zip((3, *widths), widths, strict=False))
        self.middle = double(256, 512)
        sides = [(2 * width, width) for width in reversed(widths)]
        padding, extra = (kernel - 1) // 2, kernel % 2
        self.up = nn.ModuleList(nn.ConvTranspose2d(*side, kernel, 2, padding, extra) for side in sides)
        self.mix = nn.ModuleList(double(*side) for side in sides)
        self.head = nn.Conv2d(64, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for block in self.down:
            kept.append(block(x))
            x = F.max_pool2d(kept[-1], 2)
        x = self.middle(x)
        for up, mix in zip(self.up, self.mix, strict=True):
            x = mix(torch.cat([kept.pop(), up(x)], dim=1))
        return self.head(x)


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, *, stride: int, norm: bool) -> None:
        super().__init__()

        def make_norm() -> nn.Module:
            return nn.BatchNorm2d(width) if norm else nn.Identity()

        self.first, self.norm1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=not norm), make_norm()
        self.second, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=not norm), make_norm()
        same = stride == 1 and inputs == width
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(inputs, width, 1, stride), make_norm())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.norm2(self.second(self.relu(self.norm1(self.first(x)))))
        return self.relu(branch + self.skip(x))


def resnet(*, norm: bool) -> nn.Sequential:
    stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64) if norm else nn.Identity(), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    blocks = [Block(64, 64, stride=1, norm=norm), Block(64, 128, stride=2, norm=norm)]
    blocks += [Block(128, 256, stride=2, norm=norm), Block(256, 512, stride=2, norm=norm)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))

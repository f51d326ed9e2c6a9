"""What the healthy models of `unseen_clean.py` are made of."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .data import seeded
from .models import Residual, he
from .unseen_models import stack

__all__ = [
    "Coordinates",
    "Factors",
    "Gated",
    "Highway",
    "Masked",
    "Mixer",
    "Sets",
    "Sign",
    "Siren",
    "Skip",
    "Tied",
    "Visual",
    "Wide",
]


class Sign(nn.Module):
    """Binary units with a straight-through gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        soft = x.clamp(-1, 1)
        return soft + (torch.sign(x) - soft).detach()


class Highway(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.gate(x).sigmoid()
        return gate * F.relu(self.change(x)) + (1 - gate) * x


class Gated(nn.Module):
    """tanh times sigmoid, dilated, residual."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 2 * width, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.conv(x).chunk(2, 1)
        return x + self.out(a.tanh() * b.sigmoid())


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, 2)
        self.tokens = Residual(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tokens(self.patch(x).flatten(2)).transpose(1, 2)
        return self.head(self.channels(x).mean(1))


class Visual(nn.Module):
    """A ViT with a class token, N(0, 0.02)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.first = nn.Conv2d(1, 32, 2, 2), nn.Parameter(torch.zeros(1, 1, 32))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.body, self.norm = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.norm(self.body(x))[:, 0])


class Factors(nn.Module):
    """Ratings as products of a user's and an item's vector."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(40, 8), nn.Embedding(30, 8)
        self.bias = nn.Embedding(40, 1)
        for table in (self.user, self.item, self.bias):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        user, item = ids.unbind(1)
        return (self.user(user) * self.item(item)).sum(1, keepdim=True) + self.bias(user)


class Masked(nn.Module):
    """Padding hidden from attention and from the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32, padding_idx=0)
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        is_pad = ids == 0
        x = self.body(self.embed(ids), src_key_padding_mask=is_pad)
        keep = (~is_pad)[:, :, None]
        return self.head((x * keep).sum(1) / keep.sum(1))


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.bias = nn.Linear(64, 24), nn.Parameter(torch.zeros(64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.encode(x.flatten(1)).tanh(), self.encode.weight.T, self.bias)


class Skip(nn.Module):
    """SkipInit: a branch times a scalar that starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.alpha = nn.Conv2d(width, width, 3, padding=1), nn.Parameter(torch.zeros(()))
        he(self.conv.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.conv(F.relu(x))


class Sets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each, self.all = stack(32, 1, act=nn.ReLU, inp=3, out=32), stack(32, 1, act=nn.ReLU, inp=32, out=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.all(self.each(x).mean(1))


class Coordinates(nn.Module):
    """Random Fourier features of a place."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("waves", 4 * torch.randn(2, 32, generator=seeded(seed)))
        self.body = stack(64, 2, act=nn.ReLU, inp=64, out=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phase = x @ self.waves
        return self.body(torch.cat([phase.sin(), phase.cos()], 1))


class Siren(nn.Module):
    """Sitzmann's scheme with ω = 30 and its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.ModuleList([nn.Linear(2, 64), nn.Linear(64, 64)]), nn.Linear(64, 1)
        nn.init.uniform_(self.layers[0].weight, -1 / 2, 1 / 2)
        for layer in (self.layers[1], self.head):
            nn.init.uniform_(layer.weight, -math.sqrt(6 / 64) / 30, math.sqrt(6 / 64) / 30)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.sin(30 * layer(x))
        return self.head(x)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 24, 2, batch_first=True, bidirectional=True), nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0].mean(1))

"""Hand-written models of the zoo: architectures that no config names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .oddities import ODDITIES
from .spellings import SPELLINGS, noise, tokens

__all__ = ["MODELS"]


class UNet(nn.Module):
    """Encoder, decoder with transposed convolutions, skips by concatenation, group norm."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down1, self.down2 = self._double(width, 2 * width), self._double(2 * width, 4 * width)
        self.up2, self.up1 = (
            nn.ConvTranspose2d(4 * width, 2 * width, 2, 2),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        )
        self.fuse2, self.fuse1 = self._double(4 * width, 2 * width), self._double(2 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(4, outputs), nn.SiLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = F.relu(self.stem(x))
        second = self.down1(F.max_pool2d(first, 2))
        third = self.down2(F.avg_pool2d(second, 2))
        x = self.fuse2(torch.cat([self.up2(third), second], 1))
        return self.head(self.fuse1(torch.cat([self.up1(x), first], 1)))


class DenseNet(nn.Module):
    """Every layer reads all before it; norm and nonlinearity come first."""

    def __init__(self, layers: int = 6, growth: int = 8) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + i * growth) for i in range(layers))
        self.convs = nn.ModuleList(nn.Conv2d(8 + i * growth, growth, 3, padding=1) for i in range(layers))
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 + layers * growth, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu_(norm(torch.cat(features, 1)))))
        return self.head(F.adaptive_avg_pool2d(torch.cat(features, 1), 1).flatten(1))


class Mixer(nn.Module):
    """MLP-Mixer: the same kind of layer over patches and over channels, by transposes."""

    def __init__(self, patches: int = 16, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 8, stride=8)
        mlp = lambda size: nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))  # noqa: E731
        self.tokens = nn.ModuleList(mlp(patches) for _ in range(depth))
        self.channels = nn.ModuleList(mlp(width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth))
        self.head = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).mT
        for i, (places, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            x = x + places(self.norms[2 * i](x).mT).mT
            x = x + channels(self.norms[2 * i + 1](x))
        return self.head(x.mean(1))


class Tagger(nn.Module):
    """Embedding, a packed bidirectional LSTM, a linear-chain-like head over the states."""

    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 24, padding_idx=0)
        self.cell = cell(24, 20, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.head = nn.Linear(40, 6)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        lengths = torch.arange(len(tokens)).remainder(tokens.shape[1]).flip(0) + 1
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.cell(packed)[0], batch_first=True)
        return self.head(states)


class HandLSTM(nn.Module):
    """An LSTM written out, gates packed in one linear, over a scan of the time axis."""

    def __init__(self, inputs: int = 12, hidden: int = 24) -> None:
        super().__init__()
        self.hidden, self.gates = hidden, nn.Linear(inputs + hidden, 4 * hidden)
        self.head = nn.Linear(hidden, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.hidden)
        for step in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([step, h], -1)).split(self.hidden, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


class Cells(nn.Module):
    """LSTMCell and GRUCell stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.LSTMCell(12, 16), nn.GRUCell(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, y = None, None
        for step in x.unbind(1):
            state = self.first(step, state)
            y = self.second(state[0], y)
        return self.head(y)


class Generator(nn.Module):
    """DCGAN's generator: a linear to a map, then transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 64 * 4 * 4)
        self.body = nn.Sequential(
            nn.BatchNorm2d(64), nn.ReLU(True),
            nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2, inplace=True),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, output_padding=1), nn.PReLU(16),
            nn.Upsample(scale_factor=2), nn.Conv2d(16, 3, 3, padding=1, padding_mode="reflect"), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.body(self.project(z).view(-1, 64, 4, 4))


class PointNet(nn.Module):
    """Shared MLP over points as 1×1 convolutions, a learned transform, a maximum over points."""

    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1))
        self.transform, self.head = nn.Linear(64, 9), nn.Linear(64, 4)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        matrix = self.transform(self.local(points).amax(-1)).view(-1, 3, 3) + torch.eye(3)
        return self.head(self.local(torch.bmm(matrix, points)).max(-1).values)


class Siamese(nn.Module):
    """One tower, run twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(16, 32), nn.ELU(), nn.Linear(32, 8))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(self.tower(a), self.tower(b), dim=-1)


def _stack(activation: nn.Module, *, depth: int = 4, width: int = 32) -> nn.Sequential:
    return nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(width, width), activation)))


def _graph(rows: int) -> Any:
    adjacency = (torch.rand(rows, rows, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    return (noise(rows, 16), adjacency / adjacency.sum(1, keepdim=True).clamp(min=1)), None


class GraphNet(nn.Module):
    """Messages along a fixed adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.near, self.head = nn.Linear(16, 32), nn.Linear(16, 32, bias=False), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        return self.head(F.elu(self.own(x) + adjacency @ self.near(x)))


class Autoencoder(nn.Module):
    """A variational autoencoder with tied decoder weights."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.moments, self.decode = nn.Linear(32, 24), nn.Linear(24, 16), nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.moments(F.softplus(self.encode(x))).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return F.linear(F.softplus(self.decode(z)), self.encode.weight.t()), mean


class _Residual(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add(self.second(F.hardswish(self.first(x))))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = (
    {
        "MLP": (lambda: _stack(nn.SiLU()), lambda rows: noise(32 * rows, 32)),
        "DeepMLP": (lambda: _stack(nn.ReLU(inplace=True), depth=30), lambda rows: noise(32 * rows, 32)),
        "UNet": (UNet, lambda rows: noise(rows, 3, 16, 16)),
        "DenseNet": (DenseNet, lambda rows: noise(rows, 3, 12, 12)),
        "Mixer": (Mixer, lambda rows: noise(rows, 3, 32, 32)),
        "Tagger": (Tagger, lambda rows: tokens(4 * rows, 12)),
        "GruTagger": (lambda: Tagger(nn.GRU), lambda rows: tokens(4 * rows, 12)),
        "HandLSTM": (HandLSTM, lambda rows: noise(8 * rows, 6, 12)),
        "Cells": (Cells, lambda rows: noise(8 * rows, 5, 12)),
        "Generator": (Generator, lambda rows: noise(8 * rows, 16)),
        "PointNet": (PointNet, lambda rows: noise(4 * rows, 3, 24)),
        "Siamese": (Siamese, lambda rows: ((noise(8 * rows, 16), noise(8 * rows, 16).flip(0)), None)),
        "Compiled": (lambda: torch.compile(_stack(nn.GELU()), backend="eager"), lambda rows: noise(16 * rows, 32)),
        "DataParallel": (lambda: nn.DataParallel(_stack(nn.Tanh())), lambda rows: noise(16 * rows, 32)),
        "GraphNet": (GraphNet, lambda rows: _graph(8 * rows)),
        "Autoencoder": (Autoencoder, lambda rows: noise(16 * rows, 32)),
        "ResidualMlp": (
            lambda: nn.Sequential(
                nn.Linear(16, 32), *[_Residual() for _ in range(6)], nn.LayerNorm(32), nn.Linear(32, 4)
            ),
            lambda rows: noise(16 * rows, 16),
        ),
    }
    | SPELLINGS
    | ODDITIES
)

"""Networks of other families than those of `models.py`."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["Graph", "Heads", "LeNet", "Router", "Scaler", "Tagger", "Teller", "Translator", "Wrapped", "stack"]


def stack(
    width: int, depth: int, *, act: Callable[[], nn.Module], inp: int, out: int, gain: float | None = None
) -> nn.Sequential:
    """A plain net; weights N(0, gain²/fan_in), or torch's own where `gain` is None."""
    widths = [inp, *[width] * depth, out]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), act()]
        if gain is not None:
            is_head = len(layers) == 2 * len(widths) - 2
            nn.init.normal_(layers[-2].weight, std=(1.0 if is_head else gain) / math.sqrt(fan_in))
            nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


class Wrapped(nn.Module):
    """Any function after a body, written in `forward`."""

    def __init__(self, body: nn.Module, then: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body, self.then = body, then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.then(self.body(x))


class Scaler(nn.Module):
    """(x − mean)/std with constants."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__()
        self.register_buffer("mean", torch.as_tensor(mean))
        self.register_buffer("std", torch.as_tensor(std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class LeNet(nn.Module):
    def __init__(
        self, act: Callable[[torch.Tensor], torch.Tensor] = F.relu, channels: int = 1, classes: int = 10
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 12, 3, padding=1), nn.Conv2d(12, 24, 3, padding=1)
        self.fc1, self.fc2, self.act = nn.Linear(24 * 4, 60), nn.Linear(60, classes), act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.act(self.conv1(x)), 2)
        x = F.max_pool2d(self.act(self.conv2(x)), 2)
        return self.fc2(self.act(self.fc1(x.flatten(1))))


class Teller(nn.Module):
    """A recurrent net whose last state is read by a linear."""

    def __init__(
        self, cell: type[nn.RNNBase], features: int = 3, hidden: int = 40, out: int = 4, **settings: Any
    ) -> None:
        super().__init__()
        self.rnn = cell(features, hidden, **{"batch_first": True, **settings})
        self.head, self.is_batch_first = nn.Linear(hidden, out), self.rnn.batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Tagger(nn.Module):
    """nn.TransformerEncoder over tokens, mean-pooled."""

    def __init__(
        self, vocabulary: int = 50, width: int = 32, depth: int = 2, classes: int = 4, **settings: Any
    ) -> None:
        super().__init__()
        settings = {"batch_first": True, "dropout": 0.0, "norm_first": True, **settings}
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(0.1 * torch.randn(64, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, **settings)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.place[: ids.shape[1]]
        return self.head(self.norm(self.encoder(x)).mean(1))


class Graph(nn.Module):
    """Messages over edges by index_add; mean or sum over the neighbors."""

    def __init__(self, edges: torch.Tensor, nodes: int, *, is_mean: bool, depth: int = 3, width: int = 32) -> None:
        super().__init__()
        widths = [12, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.head, self.is_mean = nn.Linear(width, 5), is_mean
        self.register_buffer("edges", edges)
        self.register_buffer("degree", torch.bincount(edges[1], minlength=nodes).clamp_min(1)[:, None].float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            h = layer(x)
            gathered = torch.zeros_like(h).index_add(0, self.edges[1], h[self.edges[0]])
            x = F.relu(gathered / self.degree if self.is_mean else gathered)
        return self.head(x)


class Router(nn.Module):
    """The two best of four experts, weighed by a softmax."""

    def __init__(self, width: int = 12, classes: int = 5, std: float = 0.1) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 4)
        nn.init.normal_(self.gate.weight, std=std)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, classes)) for _ in range(4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best, chosen = self.gate(x).softmax(-1).topk(2, dim=-1)
        every = torch.stack([expert(x) for expert in self.experts], dim=1)
        picked = every.gather(1, chosen[:, :, None].expand(-1, -1, every.shape[-1]))
        return (picked * best[:, :, None]).sum(1)


class Heads(nn.Module):
    """Self-attention by hand over feature tokens; scores divided by `divisor`."""

    def __init__(self, width: int = 64, divisor: float = 8.0, classes: int = 4) -> None:
        super().__init__()
        self.inp, self.head, self.divisor = nn.Linear(3, width), nn.Linear(width, classes), divisor
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        for layer in (self.q, self.k, self.v):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.inp(x))
        weights = (self.q(h) @ self.k(h).transpose(1, 2) / self.divisor).softmax(-1)
        return self.head((h + weights @ self.v(h)).mean(1))


class Translator(nn.Module):
    """Pixels to pixels: an encoder, a decoder, a skip."""

    def __init__(self, last: Callable[[torch.Tensor], torch.Tensor] = lambda x: x, out: int = 1) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.up, self.out, self.last = nn.ConvTranspose2d(24, 12, 2, stride=2), nn.Conv2d(24, out, 3, padding=1), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.elu(self.a(x))
        return self.last(self.out(torch.cat([a, F.elu(self.up(F.elu(self.b(a))))], 1)))

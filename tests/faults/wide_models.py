"""Models of other families than those of `models.py`: generative, recurrent, contrastive, gated, reinforcement, …"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class BatchFree(nn.Module):
    """Reshapes to (N, …)."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(-1, *self.shape)


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(16, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 1)),
    )


def generator() -> nn.Sequential:
    return nn.Sequential(
        *(BatchFree(32, 1, 1), nn.ConvTranspose2d(32, 32, 7, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh()),
    )


def dcgan(model: nn.Module) -> nn.Module:
    """The initialization of the DCGAN paper."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return model


class AsLoss(nn.Module):
    """A generator before a discriminator; returns the judgment."""

    def __init__(self) -> None:
        super().__init__()
        self.g, self.d = dcgan(generator()), dcgan(discriminator())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.d(self.g(z))


class Series(nn.Module):
    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM, *, both: bool = False) -> None:
        super().__init__()
        self.rnn = cell(4, 32, num_layers=2, batch_first=True, dropout=0.1, bidirectional=both)
        self.head = nn.Linear(64 if both else 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0].mean(1))


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(500, 16), nn.Embedding(300, 16)
        nn.init.normal_(self.user.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        return (self.user(user) * self.item(item)).sum(1)


class WideDeep(nn.Module):
    """Categories and numbers by name, two heads as a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Embedding(size, 8) for size in (10, 50, 200))
        self.body = nn.Sequential(nn.Linear(24 + 6, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.click, self.spend = nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, categories: torch.Tensor, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = [table(categories[:, i]) for i, table in enumerate(self.embed)]
        h = self.body(torch.cat([*parts, numbers], dim=1))
        return {"click": self.click(h), "spend": self.spend(h)}


def two_heads(output: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
    click = F.binary_cross_entropy_with_logits(output["click"], targets["click"])
    return click + F.mse_loss(output["spend"], targets["spend"])


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
        self.policy, self.value = nn.Linear(64, 4), nn.Linear(64, 1)
        for layer in self.body:
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, 2**0.5)
        nn.init.orthogonal_(self.policy.weight, 0.01)
        nn.init.orthogonal_(self.value.weight, 1.0)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(x)
        return self.policy(h), self.value(h).squeeze(-1)


def a2c(output: tuple[torch.Tensor, torch.Tensor], targets: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    (logits, value), (actions, returns) = output, targets
    log_p = logits.log_softmax(-1)
    chosen = log_p.gather(1, actions[:, None]).squeeze(1)
    entropy = -(log_p.exp() * log_p).sum(1).mean()
    return -(chosen * (returns - value.detach())).mean() + 0.5 * F.mse_loss(value, returns) - 0.01 * entropy


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.head(self.local(points.transpose(1, 2)).amax(2))


class TCN(nn.Module):
    """Dilated causal convolutions with weight norm and residuals."""

    def __init__(self) -> None:
        super().__init__()
        wn = torch.nn.utils.parametrizations.weight_norm
        self.inp = nn.Conv1d(4, 16, 1)
        self.convs = nn.ModuleList(wn(nn.Conv1d(16, 16, 3, dilation=2**i)) for i in range(4))
        self.head = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inp(x.transpose(1, 2))
        for i, conv in enumerate(self.convs):
            h = h + F.relu(conv(F.pad(h, (2 * 2**i, 0))))
        return self.head(h[:, :, -1])


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.pairwise_distance(self.body(a), self.body(b))


def contrastive(distance: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    return (same * distance**2 + (1 - same) * (2 - distance).clamp_min(0) ** 2).mean()


class SimCLR(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x), dim=1)


def info_nce(z: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    half = len(z) // 2
    return F.cross_entropy(z[:half] @ z[half : 2 * half].T / 0.5, torch.arange(half))


class Coupling(nn.Module):
    """One affine coupling of RealNVP; its last layer starts at zero."""

    def __init__(self, *, flip: bool) -> None:
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, x: torch.Tensor, log_det: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = x.chunk(2, 1)
        a, b = (b, a) if self.flip else (a, b)
        scale, shift = self.net(a).chunk(2, 1)
        scale = torch.tanh(scale)
        b = b * scale.exp() + shift
        return torch.cat((b, a) if self.flip else (a, b), 1), log_det + scale.sum(1)


class Flow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Coupling(flip=bool(i % 2)) for i in range(6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_det = x.new_zeros(len(x))
        for part in self.parts:
            x, log_det = part(x, log_det)
        return x, log_det


def likelihood(output: tuple[torch.Tensor, torch.Tensor], targets: Any) -> torch.Tensor:
    z, log_det = output
    return (0.5 * (z**2).sum(1) + 0.5 * z.shape[1] * math.log(2 * math.pi) - log_det).mean()


class Sine(nn.Module):
    def __init__(self, fan_in: int, fan_out: int, *, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / 30
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(30 * self.linear(x))


def siren() -> nn.Sequential:
    head = nn.Linear(64, 1)
    nn.init.uniform_(head.weight, -math.sqrt(6 / 64) / 30, math.sqrt(6 / 64) / 30)
    return nn.Sequential(Sine(2, 64, first=True), Sine(64, 64), Sine(64, 64), head)


class Fourier(nn.Module):
    """sin and cos of coordinates at octaves, as NeRF has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = x[..., None] * 2.0 ** torch.arange(6) * math.pi
        return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


class MixtureDensity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(1, 64), nn.Tanh()), nn.Linear(64, 15)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        weight, mean, log_std = self.head(self.body(x)).chunk(3, 1)
        return weight.log_softmax(1), mean, log_std


def mixture_nll(output: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
    log_weight, mean, log_std = output
    return -torch.logsumexp(log_weight - log_std - 0.5 * ((y - mean) / log_std.exp()) ** 2, 1).mean()


class Mixer(nn.Module):
    def __init__(self, width: int = 32, length: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.token = nn.ModuleList(_mlp(length, 64, length) for _ in range(depth))
        self.channel = nn.ModuleList(_mlp(width, 64, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        for i, (token, channel) in enumerate(zip(self.token, self.channel, strict=True)):
            h = h + token(self.norms[2 * i](h).transpose(1, 2)).transpose(1, 2)
            h = h + channel(self.norms[2 * i + 1](h))
        return self.head(self.norms[-1](h).mean(1))


def _mlp(a: int, b: int, c: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, b), nn.GELU(), nn.Linear(b, c))


class DenseNet(nn.Module):
    def __init__(self, depth: int = 6, growth: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        widths = [16 + growth * i for i in range(depth)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, growth, 3, padding=1, bias=False)) for w in widths
        )
        self.head = nn.Linear(16 + growth * depth, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for layer in self.layers:
            h = torch.cat([h, layer(h)], 1)
        return self.head(F.relu(h).mean((2, 3)))


def mobile() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for a, b in ((16, 32), (32, 32), (32, 64)):
        layers += [nn.Conv2d(a, a, 3, padding=1, groups=a, bias=False), nn.BatchNorm2d(a), nn.ReLU6()]
        layers += [nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU6()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))


class Translator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(65, 32), nn.Embedding(65, 32)
        self.body = nn.Transformer(32, 4, 2, 2, 64, batch_first=True)
        self.head = nn.Linear(32, 65)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.head(self.body(self.source(source), self.target(target), tgt_mask=mask))


class Highway(nn.Module):
    """Gates that start shut."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.new, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.new(x)) + (1 - gate) * x


class Maxout(nn.Module):
    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, 3 * fan_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).unflatten(-1, (-1, 3)).amax(-1)


class SkipGram(nn.Module):
    """Context vectors start at zero, as in word2vec."""

    def __init__(self) -> None:
        super().__init__()
        self.center, self.context = nn.Embedding(500, 32), nn.Embedding(500, 32)
        nn.init.uniform_(self.center.weight, -0.5 / 32, 0.5 / 32)
        nn.init.zeros_(self.context.weight)

    def forward(self, center: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return (self.context(context) @ self.center(center)[:, :, None]).squeeze(-1)


class Speech(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(20, 32, 3, padding=1)
        self.rnn, self.head = nn.LSTM(32, 32, bidirectional=True, batch_first=True), nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.head(self.rnn(h)[0]).log_softmax(-1)


def ctc(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    n, length, _ = output.shape
    full = torch.full((n,), length), torch.full((n,), targets.shape[1])
    return F.ctc_loss(output.transpose(0, 1), targets, *full)


class FeatureTokens(nn.Module):
    """One token per column, a class token, pre-norm attention."""

    def __init__(self, columns: int = 13, width: int = 32) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(columns, width)), nn.Parameter(torch.zeros(columns, width))
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 64, batch_first=True, norm_first=True, dropout=0.0)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        return self.head(self.body(torch.cat([self.cls.expand(len(x), 1, -1), tokens], 1))[:, 0])


class LinearRecurrence(nn.Module):
    """A diagonal state space: h = a·h + b·x with decays near one."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(2, 5, width))
        self.inp, self.gate, self.head = nn.Linear(4, width), nn.Linear(4, width), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, h = torch.sigmoid(self.decay), x.new_zeros(x.shape[0], self.decay.shape[0])
        for step in range(x.shape[1]):
            h = a * h + torch.sqrt(1 - a**2) * self.inp(x[:, step])
        return self.head(h * F.silu(self.gate(x[:, -1])))


class RotaryAttention(nn.Module):
    """Grouped queries with rotary positions, causal, by scaled_dot_product_attention."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, width // heads * 2, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        q = self.q(x).view(n, length, self.heads, -1).transpose(1, 2)
        k, v = (part.unsqueeze(1).expand_as(q) for part in self.kv(x).chunk(2, -1))
        out = F.scaled_dot_product_attention(_rotated(q), _rotated(k), v, is_causal=True)
        return self.out(out.transpose(1, 2).reshape(n, length, width))


def _rotated(x: torch.Tensor) -> torch.Tensor:
    length, size = x.shape[-2:]
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, size, 2) / size)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


class Angular(nn.Module):
    """Cosines times a constant, as ArcFace has them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32))
        self.weight = nn.Parameter(torch.randn(10, 32) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 30 * F.normalize(self.body(x), dim=1) @ F.normalize(self.weight, dim=1).T


class Pairs(nn.Module):
    """Cosines of every pair in the batch, at a learned temperature, as CLIP has them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = (nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32)) for _ in range(2))
        self.temperature = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.temperature.exp() * F.normalize(self.one(a), dim=1) @ F.normalize(self.other(b), dim=1).T

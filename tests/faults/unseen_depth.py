"""Unseen faults of depth, recurrence, gains and constants; see `unseen_weights.py`."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .data import gaussian, seeded, standardized
from .models import Residual, he
from .registry import Case, all_normal, ce, mse
from .unseen import blobs, diabetes, glyphs, scaled, unseen, waves
from .unseen_models import Graph, Heads, LeNet, Router, Teller, Translator, Wrapped, stack

small = "INI202 INI203 ACT304 GRA401 INI206"
large = "INI201 INI203 LOS701 INI206 GRA402"


def plain(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return blobs(seed)


@unseen("20 convolutions at torch's default", small)
def _(seed: int, buggy: bool) -> Case:
    layers: list[nn.Module] = [nn.Conv2d(1, 12, 3, padding=1), nn.ReLU()]
    for _ in range(20):
        layers += [nn.Conv2d(12, 12, 3, padding=1), *[nn.BatchNorm2d(12)] * (not buggy), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)), glyphs(seed), ce


@unseen("30 tanh layers at torch's default", small)
def _(seed: int, buggy: bool) -> Case:
    return stack(64, 30, act=nn.Tanh, inp=12, out=5, gain=None if buggy else 1.05), plain(seed), ce


@unseen("8 sigmoid layers at torch's default", small + " ACT301")
def _(seed: int, buggy: bool) -> Case:
    return (
        stack(64, 8, act=nn.Sigmoid if buggy else nn.Tanh, inp=12, out=5, gain=None if buggy else 1.1),
        plain(seed),
        ce,
    )


@unseen("40 leaky layers, gain for a ReLU", large)
def _(seed: int, buggy: bool) -> Case:
    gain = math.sqrt(2) if buggy else math.sqrt(2 / (1 + 0.6**2))
    return stack(64, 40, act=lambda: nn.LeakyReLU(0.6), inp=12, out=5, gain=gain), plain(seed), ce


@unseen("12 SiLU layers at gain 1", small)
def _(seed: int, buggy: bool) -> Case:
    act = nn.SiLU if buggy else nn.ReLU
    return stack(96, 12, act=act, inp=12, out=5, gain=1.0 if buggy else 2**0.5), plain(seed), ce


@unseen("biases at −8 before the ReLU", "ACT302 ACT304", "1")
def _(seed: int, buggy: bool) -> Case:
    model = stack(64, 2, act=nn.ReLU, inp=12, out=5)
    if buggy:
        nn.init.constant_(model[0].bias, -8.0)
    return model, plain(seed), ce


@unseen("biases at 12 before the ReLU", "ACT303 INI201 ACT304")
def _(seed: int, buggy: bool) -> Case:
    model = stack(64, 2, act=nn.ReLU, inp=12, out=5)
    if buggy:
        nn.init.constant_(model[0].bias, 12.0)
        nn.init.constant_(model[2].bias, 12.0)
    return model, plain(seed), ce


@unseen("an LSTM at N(0, 1)", "ACT301 INI201")
def _(seed: int, buggy: bool) -> Case:
    model = Teller(nn.LSTM)
    if buggy:
        all_normal(model.rnn, 1.0)
    return model, waves(seed), ce


@unseen("a tanh RNN whose state loops with gain 5", "ACT301 INI201 GRA402 INI203")
def _(seed: int, buggy: bool) -> Case:
    model = Teller(nn.RNN)
    nn.init.orthogonal_(model.rnn.weight_hh_l0, gain=5.0 if buggy else 1.0)
    return model, waves(seed), ce


@unseen("a ReLU RNN of 80 steps with gain 1.5", large)
def _(seed: int, buggy: bool) -> Case:
    model = Teller(nn.RNN, nonlinearity="relu")
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_((1.5 if buggy else 0.9) * torch.eye(40))
    return model, waves(seed, length=80), ce


@unseen("an embedding of zeros", "INI204 ACT304 INI202 GRA401")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 50, (128, 10), generator=seeded(seed))
    table = nn.Embedding(50, 16)
    if buggy:
        nn.init.zeros_(table.weight)
    model = nn.Sequential(table, nn.Flatten(), stack(32, 2, act=nn.ReLU, inp=160, out=4))
    return model, (ids, ids[:, 0] % 4), ce


@unseen("a head fifty times too large", "LOS701 INI201")
def _(seed: int, buggy: bool) -> Case:
    model = LeNet()
    if buggy:
        scaled(model.fc2, 50.0)
    return model, glyphs(seed), ce


@unseen("a head's bias of 20 for one class", "LOS701")
def _(seed: int, buggy: bool) -> Case:
    model = LeNet()
    if buggy:
        with torch.no_grad():
            model.fc2.bias[3] = 20.0
    return model, glyphs(seed), ce


@unseen("60 residual branches at full size, no norm", "INI205 INI201 INI203 LOS701 GRA402")
def _(seed: int, buggy: bool) -> Case:
    blocks = []
    for _ in range(40):
        first, second = nn.Linear(48, 96), nn.Linear(96, 48)
        he(first.weight), he(second.weight)
        scaled(second, 1.0 if buggy else 40**-0.5)
        blocks.append(Residual(first, nn.ReLU(), second))
    return nn.Sequential(nn.Linear(12, 48), *blocks, nn.LayerNorm(48), nn.Linear(48, 5)), plain(seed), ce


@unseen("every LayerNorm weight zero", "ACT304 INI202 GRA401 INI204")
def _(seed: int, buggy: bool) -> Case:
    layers: list[nn.Module] = []
    for inp in (12, 48, 48):
        norm = nn.LayerNorm(48)
        nn.init.constant_(norm.weight, 0.0 if buggy else 1.0)
        layers += [nn.Linear(inp, 48), norm, nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(48, 5)), plain(seed), ce


@unseen("LayerNorm weights of 30", "INI201 LOS701 ACT301")
def _(seed: int, buggy: bool) -> Case:
    layers: list[nn.Module] = []
    for inp in (12, 48, 48):
        norm = nn.LayerNorm(48)
        nn.init.constant_(norm.weight, 30.0 if buggy else 1.0)
        layers += [nn.Linear(inp, 48), norm, nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(48, 5)), plain(seed), ce


@unseen("a router at N(0, 10)", "ACT301 INI201")
def _(seed: int, buggy: bool) -> Case:
    return Router(std=10.0 if buggy else 0.1), plain(seed), ce


@unseen("attention scores never divided", "ACT301 INI201")
def _(seed: int, buggy: bool) -> Case:
    return Heads(width=256, divisor=1.0 if buggy else 16.0), waves(seed), ce


@unseen("messages summed over 60 neighbors", "INI201 INI203 LOS701 GRA402")
def _(seed: int, buggy: bool) -> Case:
    x, y = plain(seed)
    ends = torch.arange(len(x)).repeat(60 if buggy else 2)
    edges = torch.stack([ends, (ends + torch.randint(1, 99, ends.shape, generator=seeded(seed))) % len(x)])
    return Graph(edges, len(x), is_mean=not buggy), (x, y), ce


@unseen("a decoder's transposed convolution at N(0, 10)", "INI201 INI203 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    model = Translator()
    if buggy:
        nn.init.normal_(model.up.weight, std=10.0)
    return model, (x, x), mse


@unseen("a regressor whose weights came from N(0, 0.5²) at width 512", large)
def _(seed: int, buggy: bool) -> Case:
    x, y = diabetes()
    model = stack(512, 2, act=nn.ReLU, inp=10, out=1)
    return (all_normal(model, 0.5) if buggy else model), (x, standardized(y)), mse


@unseen("a sine net with ω = 30 in every layer at torch's default", "ACT301 INI201 INI203 LOS701 GRA402")
def _(seed: int, buggy: bool) -> Case:
    x = 2 * torch.rand(400, 2, generator=seeded(seed)) - 1
    y = standardized(torch.sin(4 * x[:, :1]) * x[:, 1:2])
    layers = [nn.Linear(2, 64), nn.Linear(64, 64), nn.Linear(64, 64)]
    for depth, layer in enumerate(layers):
        bound = (1 / 2 if depth == 0 else math.sqrt(6 / 64) / 30) * (1 if not buggy else 20)
        nn.init.uniform_(layer.weight, -bound, bound)

    class Sines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.ModuleList(layers), nn.Linear(64, 1)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                z = torch.sin((30 if layer is not self.layers[0] else 6) * layer(z))
            return self.head(z)

    return Sines(), (x, y), mse


@unseen("logits a hundred times the cosine", "LOS701 INI201")
def _(seed: int, buggy: bool) -> Case:
    x, y = gaussian(seed)
    body, prototypes = stack(32, 1, act=nn.ReLU, inp=20, out=16), nn.Linear(16, 10, bias=False)
    temperature = 200.0 if buggy else 5.0

    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.prototypes = body, prototypes

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return temperature * F.linear(F.normalize(self.body(z)), F.normalize(self.prototypes.weight))

    return Cosine(), (x, y), ce


@unseen("InfoNCE at temperature 0.002", "LOS701 INI201 ACT301")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed, num=128)
    other = x + torch.randn(x.shape, generator=seeded(seed + 1))

    def info(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a, b = F.normalize(z).chunk(2)
        return ce(a @ b.T / (0.002 if buggy else 0.2), torch.arange(len(a)))

    return stack(64, 2, act=nn.GELU, inp=12, out=16), (torch.cat([x, other]), torch.arange(256)), info


@unseen("a log-variance head at 18", "LOS701 INI201 NUM901 INI203")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    body, head = nn.Linear(64, 40), nn.Linear(40, 16)
    if buggy:
        nn.init.constant_(head.bias, 18.0)

    def sample(z: torch.Tensor) -> torch.Tensor:
        mean, log_var = z.chunk(2, dim=-1)
        return mean + (0.5 * log_var).exp() * torch.randn_like(mean)

    encoder = Wrapped(nn.Sequential(nn.Flatten(), body, nn.ReLU(), head), sample)
    return nn.Sequential(encoder, nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 64)), (x, x.flatten(1)), mse

"""Healthy models that look unusual, written before the rules were read."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .data import gaussian, seeded, standardized
from .models import GPT, HandLSTM, LayerScale, LoRA, Residual, SqueezeExcite, resnet
from .registry import ce, mse
from .unseen import adam, blobs, cancer, diabetes, glyphs, housing, iris, sgd, waves
from .unseen_models import Graph, Heads, LeNet, Router, Tagger, Teller, Translator, stack
from .unseen_parts import (
    Coordinates,
    Factors,
    Gated,
    Highway,
    Masked,
    Mixer,
    Sets,
    Sign,
    Siren,
    Skip,
    Tied,
    Visual,
    Wide,
)

__all__ = ["unseen_healthy"]

bce = F.binary_cross_entropy_with_logits
Named = tuple[str, Callable[[], Any]]


def trained(model: nn.Module, data: Any, loss: Any, *, steps: int = 300, lr: float = 2e-3) -> nn.Module:
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


def after(make: Callable[[], nn.Module], data: Any, loss: Any, *, is_eval: bool = False, steps: int = 300) -> Any:
    model = trained(make(), data, loss, steps=steps)
    return (model.eval() if is_eval else model), data, loss


def sparse_words(seed: int) -> Any:
    x = (torch.rand(300, 400, generator=seeded(seed)) < 0.03).float()
    return x, (x[:, :40].sum(1) > x[:, 40:80].sum(1)).long()


def tfidf(seed: int) -> Any:
    x, y = sparse_words(seed)
    return F.normalize(x * (1 + torch.rand(400, generator=seeded(seed)))), y


def boards(seed: int) -> Any:
    cells = torch.randint(0, 13, (128, 8, 8), generator=seeded(seed))
    return F.one_hot(cells, 13).permute(0, 3, 1, 2).float(), (cells.sum((1, 2)) % 3)


def normed(act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    layers = (nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), act(), nn.Conv2d(16, 16, 3, bias=False))
    return nn.Sequential(*layers, nn.BatchNorm2d(16), act(), nn.Flatten(), nn.Linear(256, 10))


def mobile() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
    for _ in range(3):
        layers += [nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
        layers += [nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def policy() -> nn.Module:
    model = stack(64, 2, act=nn.Tanh, inp=8, out=4)
    for layer, gain in zip(model[::2], (2**0.5, 2**0.5, 0.01), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return model


def generator() -> nn.Module:
    layers = (nn.Linear(16, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(), nn.Unflatten(1, (16, 4, 4)))
    up = (nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    model = nn.Sequential(*layers, *up, nn.Tanh())
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
    return model


def frozen(model: nn.Module, *parts: str) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(parts))
    return model


def contrast(z: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    a, b = F.normalize(z).chunk(2)
    return ce(a @ b.T / 0.2, torch.arange(len(a)))


def triplet(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    a, b, c = F.normalize(z).chunk(3)
    return F.triplet_margin_loss(a, b, c)


def normal_nll(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mean, raw = z.chunk(2, 1)
    return F.gaussian_nll_loss(mean, y, F.softplus(raw) + 1e-3)


def pinball(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    levels, error = torch.tensor([0.1, 0.5, 0.9]), y - z
    return torch.maximum(levels * error, (levels - 1) * error).mean()


def dice(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    p = z.sigmoid()
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def _plain(seed: int) -> Iterator[Named]:
    data, wave, image, flower = blobs(seed), waves(seed), glyphs(seed), iris()
    curve = data[0], standardized(data[0][:, :1].sin() + data[0][:, 1:2])
    place = 2 * torch.rand(400, 2, generator=seeded(seed)) - 1
    height = place, standardized(torch.sin(4 * place[:, :1]) * place[:, 1:2])
    corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(25, 1)
    xor = corners, (corners.sum(1, keepdim=True) == 1).float()
    yield "sparse binary words", lambda: (stack(64, 1, act=nn.ReLU, inp=400, out=2), sparse_words(seed), ce)
    yield "tf-idf rows of length one", lambda: (nn.Linear(400, 2), tfidf(seed), ce)
    planes = (nn.Conv2d(13, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.Flatten())
    yield "one-hot boards", lambda: (nn.Sequential(*planes, nn.Linear(24 * 36, 3)), boards(seed), ce)
    yield "XOR with four tanh units", lambda: (stack(4, 1, act=nn.Tanh, inp=2, out=1), xor, bce)
    yield "two hidden units", lambda: (stack(2, 1, act=nn.Tanh, inp=4, out=3), flower, ce)
    yield "batch of four", lambda: (stack(64, 2, act=nn.ReLU, inp=12, out=5), (data[0][:4], data[1][:4]), ce)
    yield "batch of four images", lambda: (LeNet(), (image[0][:4], image[1][:4]), ce)
    yield "batch of four with batch norm", lambda: (normed(), (image[0][:4], image[1][:4]), ce)
    yield "binary units", lambda: (stack(64, 2, act=Sign, inp=12, out=5), data, ce)
    stem = (nn.Conv2d(1, 16, 3, padding=1), *(Skip(16) for _ in range(8)), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    yield "SkipInit without norms", lambda: (nn.Sequential(*stem, nn.Flatten(), nn.Linear(16, 10)), image, ce)
    rows = (
        Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), LayerScale(32)) for _ in range(6)
    )
    yield "LayerScale", lambda: (nn.Sequential(nn.Linear(12, 32), *rows, nn.LayerNorm(32), nn.Linear(32, 5)), data, ce)
    yield "zero γ", lambda: (resnet(zero=True), image, ce)
    ids = torch.randint(1, 50, (64, 16), generator=seeded(seed))
    padded = ids * (torch.arange(16) < 4 + torch.arange(64)[:, None] % 12)
    yield "padding hidden", lambda: (Masked(), (padded, ids[:, 0] % 4), ce)
    yield "tied autoencoder", lambda: (Tied(), (image[0], image[0].flatten(1)), mse)
    layers = (nn.Linear(12, 32), *(Highway(32) for _ in range(5)), nn.Linear(32, 5))
    yield "highway", lambda: (nn.Sequential(*layers), data, ce)
    gates = (nn.Conv1d(3, 24, 1), *(Gated(24, 2**i) for i in range(4)), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    yield "dilated gates", lambda: (nn.Sequential(*gates, nn.Linear(24, 4)), (wave[0].transpose(1, 2), wave[1]), ce)
    yield "depthwise with ReLU6", lambda: (mobile(), image, ce)
    excited = (nn.Conv2d(1, 16, 3), nn.ReLU(), SqueezeExcite(16), nn.Flatten(), nn.Linear(576, 10))
    yield "squeeze and excite", lambda: (nn.Sequential(*excited), image, ce)
    yield "ViT", lambda: (Visual(), image, ce)
    yield "mixer", lambda: (Mixer(), image, ce)
    yield "SIREN", lambda: (Siren(), height, mse)
    yield "Fourier features", lambda: (Coordinates(seed), height, mse)
    twice = torch.cat([data[0], data[0] + 0.1])
    yield "InfoNCE at 0.2", lambda: (stack(64, 2, act=nn.ReLU, inp=12, out=16), (twice, twice), contrast)
    yield "triplets", lambda: (stack(64, 2, act=nn.ReLU, inp=12, out=16), (data[0][:399], data[1][:399]), triplet)
    pairs = torch.stack([torch.arange(400) % 40, torch.arange(400) * 7 % 30], 1)
    yield "matrix factors", lambda: (Factors(), (pairs, curve[1]), mse)
    yield "pinball", lambda: (stack(32, 2, act=nn.ReLU, inp=12, out=3), curve, pinball)
    yield "Gaussian likelihood", lambda: (stack(32, 2, act=nn.ReLU, inp=12, out=2), curve, normal_nll)
    counts = torch.poisson(3 * curve[1].exp().clamp(max=3), generator=seeded(seed))
    yield (
        "Poisson likelihood",
        lambda: (stack(32, 2, act=nn.ReLU, inp=12, out=1), (data[0], counts), nn.PoissonNLLLoss()),
    )
    yield "LeNet at torch's default", lambda: (LeNet(), image, ce)
    yield "dice", lambda: (Translator(), (image[0], (image[0] > 0).float()), dice)
    yield "log-softmax and NLL", lambda: (nn.Sequential(LeNet(), nn.LogSoftmax(1)), image, F.nll_loss)
    yield "log-softmax and cross-entropy", lambda: (nn.Sequential(LeNet(), nn.LogSoftmax(1)), image, ce)


def _more(seed: int) -> Iterator[Named]:
    data, wave, image = blobs(seed), waves(seed), glyphs(seed)
    edges = torch.randint(0, len(data[0]), (2, 1200), generator=seeded(seed))
    yield "LSTM of waves", lambda: (Teller(nn.LSTM), wave, ce)
    yield "bidirectional GRU", lambda: (Wide(), wave, ce)
    yield "hand-written LSTM", lambda: (HandLSTM(), gates(seed), ce)
    yield "sets", lambda: (Sets(), wave, ce)
    yield "graph, mean", lambda: (Graph(edges, len(data[0]), is_mean=True), data, ce)
    yield "two of four experts", lambda: (Router(), data, ce)
    yield "attention by hand", lambda: (Heads(), wave, ce)
    yield "policy with a small head", lambda: (policy(), (torch.randn(256, 8), torch.arange(256) % 4), ce)
    noise = torch.randn(128, 16, generator=seeded(seed))
    yield "DCGAN's generator", lambda: (generator(), (noise, torch.tanh(glyphs(seed, num=128)[0])), mse)
    yield "SELU, LeCun", lambda: (stack(64, 12, act=nn.SELU, inp=12, out=5, gain=1.0), data, ce)
    yield "PReLU", lambda: (stack(64, 3, act=nn.PReLU, inp=12, out=5), data, ce)
    yield (
        "rare positives",
        lambda: (stack(32, 2, act=nn.ReLU, inp=12, out=1), (data[0], (data[0][:, :1] > 1.7).float()), bce),
    )
    smooth = nn.CrossEntropyLoss(label_smoothing=0.1)
    yield "label smoothing", lambda: (LeNet(), image, smooth)
    spectral = [nn.utils.parametrizations.spectral_norm(nn.Linear(12, 64)), nn.LeakyReLU(0.2), nn.Linear(64, 1)]
    side = (torch.arange(400) % 2 * 2.0 - 1)[:, None]
    yield (
        "spectral norm and a hinge",
        lambda: (nn.Sequential(*spectral), (data[0], side), lambda z, y: F.relu(1 - y * z).mean()),
    )
    weighted = nn.utils.parametrizations.weight_norm(nn.Linear(12, 64))
    yield "weight norm", lambda: (nn.Sequential(weighted, nn.ReLU(), nn.Linear(64, 5)), data, ce)
    x, y = diabetes()
    yield "diabetes", lambda: (stack(32, 1, act=nn.ReLU, inp=10, out=1), (x, standardized(y)), mse)
    a, b = housing(seed)
    yield (
        "housing, norm first",
        lambda: (
            nn.Sequential(nn.BatchNorm1d(6), stack(32, 2, act=nn.ReLU, inp=6, out=1)),
            (standardized(a), standardized(b)),
            mse,
        ),
    )
    yield "a linear probe", lambda: (nn.Linear(12, 5), data, ce)
    yield (
        "multi-label, few positives",
        lambda: (
            stack(32, 2, act=nn.ReLU, inp=12, out=10),
            (data[0], (torch.rand(400, 10, generator=seeded(seed)) < 0.08).float()),
            bce,
        ),
    )
    teacher = gaussian(seed)
    yield (
        "a narrow neck",
        lambda: (
            nn.Sequential(
                nn.Linear(20, 64),
                nn.ReLU(),
                nn.Linear(64, 2),
                nn.Tanh(),
                nn.Linear(2, 64),
                nn.ReLU(),
                nn.Linear(64, 10),
            ),
            teacher,
            ce,
        ),
    )


def gates(seed: int) -> Any:
    return torch.randn(64, 10, 8, generator=seeded(seed)), torch.arange(64) % 3


def _after(seed: int) -> Iterator[Named]:
    data, wave, image = blobs(seed), waves(seed), glyphs(seed)
    curve = data[0], standardized(data[0][:, :1].sin() + data[0][:, 1:2])
    ids = torch.randint(0, 50, (64, 16), generator=seeded(seed))
    text = ids, ids[:, 0] % 4
    deep = lambda: stack(48, 3, act=nn.ReLU, inp=12, out=5)  # noqa: E731
    yield "300 steps: ReLU net", lambda: after(deep, data, ce)
    yield "300 steps: tanh net", lambda: after(lambda: stack(48, 2, act=nn.Tanh, inp=12, out=5), data, ce)
    yield "300 steps: regressor", lambda: after(lambda: stack(48, 2, act=nn.GELU, inp=12, out=1), curve, mse)
    yield "100 steps: batch norm", lambda: after(normed, image, ce, steps=100)
    yield "100 steps: batch norm, deployed", lambda: after(normed, image, ce, steps=100, is_eval=True)
    yield "100 steps: LSTM", lambda: after(lambda: Teller(nn.LSTM), wave, ce, steps=100)
    yield "100 steps: transformer", lambda: after(Tagger, text, ce, steps=100)
    yield "150 steps: LeNet", lambda: after(LeNet, image, ce, steps=150)
    yield "150 steps: tumors", lambda: after(lambda: stack(32, 1, act=nn.ReLU, inp=30, out=1), cancer(), bce, steps=150)
    yield "trained here: AdamW", lambda: (deep(), data, ce, adam(1e-3, 30))
    yield "trained here: SGD, batch norm", lambda: (normed(), image, ce, sgd(0.05, 30, momentum=0.9))
    yield (
        "trained here: a new head",
        lambda: (frozen(trained(deep(), data, ce, steps=50), "0", "2"), data, ce, adam(1e-3, 20)),
    )
    yield "trained here: transformer", lambda: (Tagger(), text, ce, adam(3e-4, 20))
    yield (
        "trained here: GPT",
        lambda: (GPT(depth=2), (ids, ids.roll(-1, 1)), lambda z, y: ce(z.flatten(0, 1), y.flatten()), adam(3e-4, 20)),
    )
    adapted = lambda: nn.Sequential(LoRA(nn.Linear(12, 64)), nn.ReLU(), LoRA(nn.Linear(64, 5)))  # noqa: E731
    yield "trained here: adapters", lambda: (adapted(), data, ce, adam(1e-3, 20))


def unseen_healthy(seed: int) -> Iterator[Named]:
    """Name and builder of every one."""
    yield from _plain(seed)
    yield from _more(seed)
    yield from _after(seed)

"""Healthy models: no rule may call any of them broken."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .data import digits, gaussian, pixels, regression, seeded, standardized, tokens, wine
from .models import (
    GPT,
    VAE,
    BagOfWords,
    DiT,
    GraphConv,
    HandLSTM,
    LayerScale,
    LoRA,
    LSTMTagger,
    Mixture,
    Residual,
    SqueezeExcite,
    SwiGLU,
    UNet,
    he,
    lecun,
    mlp,
    resnet,
    xavier,
)

Case = tuple[nn.Module, Any, Any]


def _small_head(model: nn.Sequential, factor: float) -> nn.Sequential:
    with torch.no_grad():
        model[-1].weight.mul_(factor)
        model[-1].bias.zero_()
    return model


def _trained(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], loss: Any, steps: int = 150) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
    model.zero_grad()
    return model


def _calibrated(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """In eval mode, its running statistics within 0.9⁶⁰ of those of x."""
    with torch.no_grad():
        for _ in range(60):
            model(x)
    return model.eval()


def cases(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Name and builder of every healthy model; the global generator is seeded before each."""
    ce, mse = F.cross_entropy, F.mse_loss
    x, y = gaussian(seed)
    r = regression(seed)
    for depth in (1, 2, 3):
        yield f"default relu mlp of {depth} hidden layers", lambda depth=depth: (mlp(20, *[64] * depth, 10), (x, y), ce)
    yield "default tanh mlp", lambda: (mlp(20, 64, 64, 10, act=nn.Tanh), (x, y), ce)
    yield "default regression mlp", lambda: (mlp(20, 64, 64, 1), r, mse)
    yield "tiny regression mlp of width 4", lambda: (mlp(20, 4, 1), r, mse)
    yield "linear regression", lambda: (nn.Linear(20, 1), r, mse)
    yield "logistic regression", lambda: (nn.Linear(20, 10), (x, y), ce)
    for width, depth in ((16, 3), (64, 10), (256, 20), (512, 30), (1024, 3)):
        yield (
            f"He relu, width {width}, depth {depth}",
            lambda width=width, depth=depth: (mlp(20, *[width] * depth, 10, init=he), (x, y), ce),
        )
    for depth in (3, 20, 50):
        yield (
            f"Xavier tanh, depth {depth}",
            lambda depth=depth: (mlp(20, *[128] * depth, 10, act=nn.Tanh, init=xavier), (x, y), ce),
        )
        yield (
            f"LeCun SELU, depth {depth}",
            lambda depth=depth: (mlp(20, *[128] * depth, 10, act=nn.SELU, init=lecun), (x, y), ce),
        )
    for act in (nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Hardswish, nn.PReLU):
        yield f"{act.__name__} mlp", lambda act=act: (mlp(20, 64, 64, 10, act=act), (x, y), ce)
    yield "batch norm mlp", lambda: (mlp(20, *[64] * 4, 10, norm=nn.BatchNorm1d), (x, y), ce)
    yield "layer norm mlp", lambda: (mlp(20, *[64] * 6, 10, norm=nn.LayerNorm), (x, y), ce)
    yield (
        "makemore's tanh with batch norm",
        lambda: (
            _small_head(mlp(30, *[100] * 5, 27, act=nn.Tanh, norm=nn.BatchNorm1d), 0.1),
            gaussian(seed, features=30, classes=27),
            ce,
        ),
    )
    yield (
        "batch norm on raw inputs",
        lambda: (
            nn.Sequential(nn.BatchNorm1d(13), *mlp(13, 32, 3)),
            wine(raw=True),
            ce,
        ),
    )
    yield "wine, standardized", lambda: (mlp(13, 32, 32, 3), wine(), ce)
    yield "digits 0..1", lambda: (mlp(64, 64, 10), digits(), ce)
    yield "pixels with constant borders", lambda: (mlp(784, 128, 10), pixels(seed), ce)
    yield (
        "convolutions on digits",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()),
                *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)),
            ),
            digits(images=True),
            ce,
        ),
    )
    yield (
        "separable convolutions",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
                *(nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 32, 1), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
            ),
            digits(images=True),
            ce,
        ),
    )
    yield (
        "group norm convolutions",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), SqueezeExcite(16)),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
            ),
            digits(images=True),
            ce,
        ),
    )
    yield "resnet with zero gamma", lambda: (resnet(zero=True), digits(images=True), ce)
    yield "resnet", lambda: (resnet(zero=False), digits(images=True), ce)
    yield (
        "resnet in eval mode, calibrated",
        lambda: (
            _calibrated(resnet(zero=True), digits(images=True, num=64)[0]),
            digits(images=True),
            ce,
        ),
    )
    yield "u-net", lambda: (UNet(), (digits(images=True)[0], digits(images=True)[0]), mse)
    yield (
        "autoencoder",
        lambda: (
            nn.Sequential(*mlp(64, 32, 8), nn.ReLU(), *mlp(8, 32, 64)),
            (standardized(digits()[0]), standardized(digits()[0])),
            mse,
        ),
    )
    yield "variational autoencoder", lambda: (VAE(), (digits()[0], digits()[0]), mse)
    yield "gpt, tied", lambda: (GPT(), tokens(seed), _sequence_ce)
    yield "gpt, free head, 8 blocks", lambda: (GPT(depth=8, tied=False), tokens(seed), _sequence_ce)
    encoder = {"d_model": 32, "nhead": 4, "dim_feedforward": 64, "batch_first": True, "dropout": 0.1}
    yield (
        "torch's post-norm encoder",
        lambda: (
            nn.Sequential(
                nn.Embedding(65, 32), nn.TransformerEncoder(nn.TransformerEncoderLayer(**encoder), 2), nn.Linear(32, 65)
            ),
            tokens(seed),
            _sequence_ce,
        ),
    )
    yield (
        "torch's pre-norm encoder",
        lambda: (
            nn.Sequential(
                nn.Embedding(65, 32),
                nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(norm_first=True, **encoder), 4, enable_nested_tensor=False
                ),
                *(nn.LayerNorm(32), nn.Linear(32, 65)),
            ),
            tokens(seed),
            _sequence_ce,
        ),
    )
    yield (
        "swiglu with rms norm",
        lambda: (
            nn.Sequential(
                nn.Linear(20, 32), *(Residual(nn.RMSNorm(32), SwiGLU(32, 64)) for _ in range(6)), nn.Linear(32, 10)
            ),
            (x, y),
            ce,
        ),
    )
    yield (
        "layer scale at 1e-5",
        lambda: (
            nn.Sequential(
                nn.Linear(20, 32),
                *(
                    Residual(nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32), LayerScale(32))
                    for _ in range(6)
                ),
                nn.Linear(32, 10),
            ),
            (x, y),
            ce,
        ),
    )
    yield "lstm with forget bias 1", lambda: (LSTMTagger(), tokens(seed), _sequence_ce)
    yield "gru of two layers", lambda: (LSTMTagger(nn.GRU, layers=2), tokens(seed), _sequence_ce)
    yield (
        "lstm by hand, gate open at 5",
        lambda: (
            HandLSTM(),
            (torch.randn(64, 6, 8, generator=seeded(seed)), torch.randint(0, 3, (64,), generator=seeded(seed))),
            ce,
        ),
    )
    yield "bag of words", lambda: (BagOfWords(), (tokens(seed)[0], torch.arange(32) % 4), ce)
    yield (
        "one-hot input",
        lambda: (
            mlp(200, 64, 10),
            (F.one_hot(torch.randint(0, 200, (512,), generator=seeded(seed)), 200).float(), y),
            ce,
        ),
    )
    yield (
        "sparse counts",
        lambda: (
            mlp(100, 64, 10),
            (torch.poisson(torch.full((512, 100), 0.05), generator=seeded(seed)), y),
            ce,
        ),
    )
    yield "head that starts at zero", lambda: (_small_head(mlp(20, 64, 64, 10), 0.0), (x, y), ce)
    yield "policy head at a hundredth", lambda: (_small_head(mlp(20, 64, 64, 10, act=nn.Tanh), 0.01), (x, y), ce)
    yield (
        "adaLN-zero",
        lambda: (
            DiT(),
            (
                (torch.randn(256, 8, generator=seeded(seed)), torch.randn(256, 4, generator=seeded(seed + 1))),
                torch.randn(256, 8, generator=seeded(seed + 2)),
            ),
            mse,
        ),
    )
    yield (
        "adapter whose B starts at zero",
        lambda: (
            nn.Sequential(LoRA(nn.Linear(20, 64)), nn.ReLU(), LoRA(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 10)),
            (x, y),
            ce,
        ),
    )
    yield (
        "frozen body",
        lambda: (
            nn.Sequential(mlp(20, 64, 64).requires_grad_(False), nn.ReLU(), nn.Linear(64, 10)),
            (x, y),
            ce,
        ),
    )
    yield (
        "sigmoid output with binary cross-entropy",
        lambda: (
            nn.Sequential(*mlp(20, 64, 1), nn.Sigmoid()),
            (x, (y[:, None] > 4).float()),
            F.binary_cross_entropy,
        ),
    )
    yield "log-softmax with nll", lambda: (nn.Sequential(*mlp(20, 64, 10), nn.LogSoftmax(1)), (x, y), F.nll_loss)
    yield (
        "xor",
        lambda: (
            mlp(2, 4, 1, act=nn.Tanh),
            (torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]), torch.tensor([[-1.0], [1], [1], [-1]])),
            mse,
        ),
    )
    yield "trained mlp, train mode", lambda: (_trained(mlp(64, 64, 64, 10), digits(), ce), digits(), ce)
    yield "trained mlp, eval mode", lambda: (_trained(mlp(64, 64, 64, 10), digits(), ce).eval(), digits(), ce)
    yield (
        "trained batch norm mlp, eval mode",
        lambda: (
            _trained(mlp(64, 64, 64, 10, norm=nn.BatchNorm1d), digits(), ce).eval(),
            digits(),
            ce,
        ),
    )
    yield "mixture of experts", lambda: (Mixture(), (x, y), ce)
    yield "graph convolution", lambda: (GraphConv(), (x, y), ce)
    yield "no loss at all", lambda: (mlp(20, 64, 64, 10), x, None)


def _sequence_ce(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(output.flatten(0, 1), targets.flatten())

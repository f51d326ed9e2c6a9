"""More healthy models, of other families and with other losses, inputs and dtypes."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import nn

from . import wide_models as wide
from .clean import _calibrated, _sequence_ce, _trained
from .data import digits, gaussian, pixels, regression, seeded, standardized, tokens, wine
from .models import GPT, Residual, SwiGLU, he, mlp, resnet

Case = tuple[nn.Module, Any, Any]
ce, mse, bce = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def integers(seed: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=seeded(seed))


def series(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = noise(seed, 256, 12, 4)
    y = x[:, :, :1].mean(1) + 0.3 * x[:, -1, 1:2]
    return x, (y - y.mean()) / y.std()


def images(seed: int, num: int = 64) -> torch.Tensor:
    return 2 * pixels(seed, num=num)[0].view(-1, 1, 28, 28) - 1


def prior_bias(model: nn.Sequential, share: float) -> nn.Sequential:
    nn.init.constant_(model[-1].bias, math.log(share / (1 - share)))
    return model


def hugging(kind: str) -> nn.Module:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=65, n_positions=32, n_embd=32, n_layer=2, n_head=4)
        )
    if kind == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=65, num_labels=3, **small))
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=65, **small))
    if kind == "vit":
        config = transformers.ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **small)
        return transformers.ViTForImageClassification(config)
    config = transformers.T5Config(
        vocab_size=65, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    return transformers.T5ForConditionalGeneration(config)


def generative(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    yield (
        "dcgan discriminator",
        lambda: (wide.dcgan(wide.discriminator()), (images(seed), (torch.arange(64) % 2)[:, None].float()), bce),
    )
    yield "default discriminator", lambda: (wide.discriminator(), (images(seed), torch.ones(64, 1)), bce)
    yield "generator before discriminator", lambda: (wide.AsLoss(), (noise(seed, 64, 32), torch.ones(64, 1)), bce)
    yield (
        "convolutional autoencoder, sigmoid and bce",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU()),
                *(nn.ConvTranspose2d(8, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 1, 2, 2), nn.Sigmoid()),
            ),
            (images(seed) / 2 + 0.5, images(seed) / 2 + 0.5),
            F.binary_cross_entropy,
        ),
    )
    yield "normalizing flow", lambda: (wide.Flow(), (noise(seed, 256, 8), torch.zeros(256)), wide.likelihood)
    yield (
        "mixture density network",
        lambda: (wide.MixtureDensity(), (noise(seed, 256, 1), noise(seed + 1, 256, 1)), wide.mixture_nll),
    )
    yield (
        "siren",
        lambda: (wide.siren(), (2 * torch.rand(512, 2, generator=seeded(seed)) - 1, noise(seed, 512, 1)), mse),
    )
    yield (
        "nerf's fourier features",
        lambda: (
            nn.Sequential(wide.Fourier(), *mlp(24, 64, 64, 3), nn.Sigmoid()),
            (2 * torch.rand(512, 2, generator=seeded(seed)) - 1, torch.rand(512, 3, generator=seeded(seed + 1))),
            mse,
        ),
    )


def sequential(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    for cell in (nn.LSTM, nn.GRU, nn.RNN):
        yield f"{cell.__name__} regressor", lambda cell=cell: (wide.Series(cell), series(seed), mse)
    yield "bidirectional lstm regressor", lambda: (wide.Series(both=True), series(seed), F.smooth_l1_loss)
    yield "dilated convolutions with weight norm", lambda: (wide.TCN(), series(seed), mse)
    yield "linear recurrence", lambda: (wide.LinearRecurrence(), series(seed), mse)
    yield "speech with ctc", lambda: (wide.Speech(), (noise(seed, 16, 30, 20), 1 + integers(seed, 11, 16, 6)), wide.ctc)
    yield (
        "encoder and decoder",
        lambda: (wide.Translator(), (tokens(seed)[0], tokens(seed)[0], tokens(seed)[1]), _sequence_ce),
    )
    yield (
        "rotary grouped queries with swiglu",
        lambda: (
            nn.Sequential(
                nn.Embedding(65, 64),
                *(
                    part
                    for _ in range(3)
                    for part in (
                        Residual(nn.RMSNorm(64), wide.RotaryAttention()),
                        Residual(nn.RMSNorm(64), SwiGLU(64, 128)),
                    )
                ),
                *(nn.RMSNorm(64), nn.Linear(64, 65, bias=False)),
            ),
            tokens(seed),
            _sequence_ce,
        ),
    )
    ids = tokens(seed)[0]
    for kind in ("gpt2", "llama"):
        yield f"Hugging Face's {kind}", lambda kind=kind: (hugging(kind), {"input_ids": ids, "labels": ids}, None)
    yield (
        "Hugging Face's bert with padding",
        lambda: (
            hugging("bert"),
            {
                "input_ids": ids,
                "attention_mask": (torch.arange(24) < 12 + torch.arange(32)[:, None] % 12).long(),
                "labels": torch.arange(32) % 3,
            },
            None,
        ),
    )
    yield "Hugging Face's t5", lambda: (hugging("t5"), {"input_ids": ids, "labels": ids}, None)
    yield (
        "Hugging Face's vit",
        lambda: (
            hugging("vit"),
            {"pixel_values": 2 * digits(images=True, num=64)[0] - 1, "labels": digits(num=64)[1]},
            None,
        ),
    )
    yield (
        "skip-gram",
        lambda: (
            wide.SkipGram(),
            (
                (integers(seed, 500, 256), integers(seed + 1, 500, 256, 5)),
                F.one_hot(torch.zeros(256).long(), 5).float(),
            ),
            bce,
        ),
    )


def tabular(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    x, y = gaussian(seed)
    r = regression(seed)
    yield (
        "recommender by dot products",
        lambda: (
            wide.Recommender(),
            ((integers(seed, 500, 512), integers(seed + 1, 300, 512)), integers(seed + 2, 2, 512).float()),
            bce,
        ),
    )
    yield (
        "categories and numbers by name, two heads",
        lambda: (
            wide.WideDeep(),
            (
                {"categories": integers(seed, 10, 256, 3), "numbers": noise(seed, 256, 6)},
                {"click": integers(seed, 2, 256, 1).float(), "spend": noise(seed + 1, 256, 1)},
            ),
            wide.two_heads,
        ),
    )
    yield "a token per feature", lambda: (wide.FeatureTokens(), wine(), ce)
    rare = (noise(seed, 512, 1) > 1.8).float()
    yield "rare positives", lambda: (mlp(20, 64, 1), (x, rare), bce)
    yield "rare positives, bias at the prior", lambda: (prior_bias(mlp(20, 64, 1), 0.04), (x, rare), bce)
    skewed = torch.where(noise(seed, 512) > 1.5, y, 0)
    yield "skewed classes", lambda: (mlp(20, 64, 10), (x, skewed), ce)
    yield (
        "class weights and label smoothing",
        lambda: (mlp(20, 64, 10), (x, y), nn.CrossEntropyLoss(weight=torch.linspace(0.5, 2, 10), label_smoothing=0.1)),
    )
    yield "many labels at once", lambda: (mlp(20, 64, 12), (x, (noise(seed, 512, 12) > 1).float()), bce)
    yield "quantile regression", lambda: (mlp(20, 64, 1), r, _pinball)
    counts = torch.poisson(torch.exp(0.5 * r[1]), generator=seeded(seed))
    yield "counts by poisson", lambda: (mlp(20, 64, 1), (x, counts), F.poisson_nll_loss)
    yield "gaussian likelihood", lambda: (mlp(20, 64, 2), r, _gaussian_nll)
    yield (
        "actor and critic",
        lambda: (wide.ActorCritic(), (noise(seed, 256, 8), (integers(seed, 4, 256), noise(seed + 1, 256))), wide.a2c),
    )
    yield (
        "q-learning with huber",
        lambda: (mlp(8, 64, 64, 4), (noise(seed, 256, 8), noise(seed + 1, 256, 4)), F.huber_loss),
    )
    yield (
        "siamese with margin",
        lambda: (wide.Siamese(), ((x, x.roll(1, 0)), (y == y.roll(1)).float()), wide.contrastive),
    )
    yield "contrast within the batch", lambda: (wide.SimCLR(), (x[:128], torch.zeros(128)), wide.info_nce)
    yield (
        "highway of 8 gates",
        lambda: (nn.Sequential(nn.Linear(20, 32), *(wide.Highway() for _ in range(8)), nn.Linear(32, 10)), (x, y), ce),
    )
    yield "maxout", lambda: (nn.Sequential(wide.Maxout(20, 32), wide.Maxout(32, 32), nn.Linear(32, 10)), (x, y), ce)
    yield (
        "dropout of a half",
        lambda: (
            nn.Sequential(
                nn.Linear(20, 128),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(128, 64),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(64, 10),
            ),
            (x, y),
            ce,
        ),
    )
    yield "bfloat16", lambda: (mlp(20, 64, 64, 10).bfloat16(), (x.bfloat16(), y), ce)
    yield "float16", lambda: (mlp(20, 64, 64, 10).half(), (x.half(), y), ce)
    yield "float64", lambda: (mlp(20, 64, 64, 10).double(), (x.double(), y), ce)
    yield (
        "one-hot beside standardized numbers",
        lambda: (mlp(50, 64, 10), (torch.cat([F.one_hot(integers(seed, 30, 512), 30).float(), x], 1), y), ce),
    )
    yield (
        "inputs scaled to 0..1",
        lambda: (mlp(20, 64, 10), ((x - x.min(0).values) / (x.max(0).values - x.min(0).values), y), ce),
    )
    yield (
        "heavy tails, standardized",
        lambda: (mlp(20, 64, 10), (standardized(torch.distributions.StudentT(3.0).sample((512, 20))), y), ce),
    )
    yield "a batch of 8", lambda: (mlp(20, 64, 64, 10), (x[:8], y[:8]), ce)
    yield "a batch of 1", lambda: (mlp(20, 64, 64, 10), (x[:1], y[:1]), ce)
    yield "width 4000", lambda: (mlp(20, 4000, 10), (x[:64], y[:64]), ce)
    yield "1000 classes", lambda: (mlp(20, 64, 1000), (x, integers(seed, 1000, 512)), ce)
    yield "trained tanh regression", lambda: (_trained(mlp(20, 64, 64, 1, act=nn.Tanh), r, mse), r, mse)


def by_design(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Numbers that look wrong and are meant."""
    x, y = gaussian(seed)
    r = regression(seed)
    yield "angular margin at scale 30", lambda: (wide.Angular(), (x, y), ce)
    yield "images and texts in one space", lambda: (wide.Pairs(), ((x[:64], x[:64].roll(1, 1)), torch.arange(64)), ce)
    yield "a target with a mean of 12", lambda: (mlp(20, 64, 1), (r[0], 12 + 0.4 * r[1]), mse)
    raw, labels = digits(images=True, num=256)
    layers = nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)
    yield "pixels 0..255 under a norm", lambda: (nn.Sequential(*layers), (255 * raw, labels), ce)
    targets = (y[:, None] > 4).float()
    yield (
        "trained until every output is saturated",
        lambda: (
            _trained(nn.Sequential(*mlp(20, 64, 64, 1), nn.Sigmoid()), (x, targets), F.binary_cross_entropy, steps=300),
            (x, targets),
            F.binary_cross_entropy,
        ),
    )


def convolutional(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    data = digits(images=True, num=256)
    yield "mlp-mixer", lambda: (wide.Mixer(), data, ce)
    yield "densely connected", lambda: (wide.DenseNet(), data, ce)
    yield "mobile with relu6", lambda: (wide.mobile(), data, ce)
    yield "point clouds", lambda: (wide.PointNet(), (noise(seed, 64, 50, 3), torch.arange(64) % 5), ce)
    yield (
        "vgg of 8 layers, He",
        lambda: (_vgg(8, init=he), (data[0], data[1]), ce),
    )
    yield "default convolutions, 3 layers", lambda: (_vgg(3), data, ce)
    yield (
        "segmentation with ignored pixels",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
                *(nn.Conv2d(16, 16, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
                nn.Conv2d(16, 4, 1),
            ),
            (data[0], torch.where(integers(seed, 5, 256, 8, 8) == 4, -100, integers(seed, 5, 256, 8, 8))),
            nn.CrossEntropyLoss(ignore_index=-100),
        ),
    )
    yield (
        "instance norm for style",
        lambda: (
            nn.Sequential(
                *(nn.Conv2d(1, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True), nn.ReLU()),
                *(nn.Conv2d(16, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True), nn.ReLU()),
                nn.Conv2d(16, 1, 3, padding=1),
            ),
            (data[0], data[0]),
            mse,
        ),
    )
    yield (
        "spectral norm discriminator",
        lambda: (
            nn.Sequential(
                *(torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 32, 3)), nn.LeakyReLU(0.1)),
                *(torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(32, 32, 3)), nn.LeakyReLU(0.1)),
                *(nn.Flatten(), torch.nn.utils.parametrizations.spectral_norm(nn.Linear(512, 1))),
            ),
            (data[0], (data[1] % 2)[:, None].float()),
            bce,
        ),
    )
    yield "trained resnet, train mode", lambda: (_trained(resnet(zero=True), data, ce, steps=40), data, ce)
    yield "trained resnet, eval mode", lambda: (_trained(resnet(zero=True), data, ce, steps=40).eval(), data, ce)
    yield "fine-tuning under frozen norms", lambda: (_frozen_norms(_calibrated(resnet(zero=False), data[0])), data, ce)
    yield "looked at once before", lambda: (_looked_at(resnet(zero=False), data[0]), data, ce)
    yield "gpt of 12 blocks", lambda: (GPT(depth=12, width=64), tokens(seed), _sequence_ce)


def _vgg(depth: int, init: Any = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        conv = nn.Conv2d(1 if i == 0 else 16, 16, 3, padding=1)
        if init is not None:
            init(conv.weight)
            nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU(), *([nn.MaxPool2d(2)] if i in (1, 3) else [])]
    size = 8 // 2 ** sum(i in (1, 3) for i in range(depth))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * size * size, 10))


def _frozen_norms(model: nn.Module) -> nn.Module:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    return model


def _looked_at(model: nn.Module, x: torch.Tensor) -> nn.Module:
    with torch.no_grad():
        model(x[:2])
    return model


def _pinball(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    error = y - output
    return torch.maximum(0.9 * error, -0.1 * error).mean()


def _gaussian_nll(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mean, log_var = output.chunk(2, 1)
    return (0.5 * log_var + 0.5 * (y - mean) ** 2 / log_var.exp()).mean()


def cases(seed: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    yield from generative(seed)
    yield from sequential(seed)
    yield from tabular(seed)
    yield from convolutional(seed)
    yield from by_design(seed)

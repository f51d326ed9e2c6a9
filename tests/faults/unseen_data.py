"""Unseen faults of inputs, targets and labels."""

import torch
import torch.nn.functional as F
from torch import nn

from .data import seeded, standardized
from .registry import Case, ce, mse
from .unseen import blobs, cancer, diabetes, glyphs, housing, iris, unseen, waves
from .unseen_models import LeNet, Scaler, Tagger, Teller, Translator, Wrapped, stack

bce = F.binary_cross_entropy_with_logits


@unseen("raw tumor measurements into a GELU net", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    return stack(48, 2, act=nn.GELU, inp=30, out=1), cancer(raw=buggy), bce


@unseen("raw housing features", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    x, y = housing(seed)
    return stack(64, 2, act=nn.ReLU, inp=6, out=1), (x if buggy else standardized(x), standardized(y)), mse


@unseen("prices in dollars as the target", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, y = housing(seed)
    return stack(64, 2, act=nn.SiLU, inp=6, out=1), (standardized(x), y if buggy else standardized(y)), mse


@unseen("disease progression 25..346 as the target, Huber", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, y = diabetes()
    return stack(32, 2, act=nn.Tanh, inp=10, out=1), (x, y if buggy else standardized(y)), "smooth_l1"


@unseen("temperatures in kelvin as the target", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = 5 * torch.sin(x[:, :1]) + 288
    return stack(40, 2, act=nn.GELU, inp=12, out=1), (x, y if buggy else standardized(y)), mse


@unseen("images scaled down twice", "INP101 INP106")
def _(seed: int, buggy: bool) -> Case:
    x, y = glyphs(seed)
    return LeNet(), ((x * 6.02 + 4.88) / 16 / 255 if buggy else x, y), ce


@unseen("image bytes into a tanh LeNet", "INP101 INP106")
def _(seed: int, buggy: bool) -> Case:
    x, y = glyphs(seed)
    return LeNet(torch.tanh), ((x * 6.02 + 4.88) * 255 / 16 if buggy else x, y), ce


@unseen("constants for 0..1 subtracted from bytes", "INP101 INP106")
def _(seed: int, buggy: bool) -> Case:
    x, y = glyphs(seed)
    raw = (x * 6.02 + 4.88) / 16 * (255 if buggy else 1)
    return nn.Sequential(Scaler(0.305, 0.376), LeNet()), (raw, y), ce


@unseen("a scaler fitted on raw data applied to scaled data", "INP101 INP106")
def _(seed: int, buggy: bool) -> Case:
    x, y = housing(seed)
    scaler = Scaler(x.mean(0), x.std(0))
    body = stack(64, 2, act=nn.ReLU, inp=6, out=1)
    return nn.Sequential(scaler, body), (standardized(x) if buggy else x, standardized(y)), mse


@unseen("divided by the variance instead of the std", "INP101 INP102 INP106")
def _(seed: int, buggy: bool) -> Case:
    x, y = housing(seed)
    x = (x - x.mean(0)) / (x.var(0) if buggy else x.std(0))
    return stack(64, 2, act=nn.ReLU, inp=6, out=1), (x, standardized(y)), mse


@unseen("one column of NaN cells", "INP104 NUM901")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    x = x.clone()
    x[::17, 3] = float("nan") if buggy else 0.0
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (x, y), ce


@unseen("log of a zero in the features", "INP104 NUM901")
def _(seed: int, buggy: bool) -> Case:
    counts = torch.poisson(torch.full((300, 8), 3.0), generator=seeded(seed))
    x = counts.log() if buggy else standardized(counts.log1p())
    return stack(32, 1, act=nn.ReLU, inp=8, out=3), (x, torch.arange(300) % 3), ce


@unseen("a timestamp beside standardized features", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    x = x.clone()
    if buggy:
        x[:, 5] = 1.6e9 + 1e6 * x[:, 5]
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (x, y), ce


@unseen("a row number as a feature", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    rows = torch.arange(len(x), dtype=torch.float32)[:, None]
    x = torch.cat([x[:, 1:], rows if buggy else standardized(rows)], 1)
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (x, y), ce


@unseen("a quarter of the columns constant", "INP103")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    if buggy:
        x = torch.cat([x[:, :9], torch.full((len(x), 3), 7.0)], 1)
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (x, y), ce


@unseen("per cents fitted by a sigmoid", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    share = torch.sigmoid(x[:, :1] + x[:, 1:2])
    body = stack(32, 2, act=nn.ReLU, inp=12, out=1)
    return nn.Sequential(*body, nn.Sigmoid()), (x, 100 * share if buggy else share), mse


@unseen("returns of both signs behind a ReLU", "INP105 LOS704 ACT302 STR801")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = standardized(torch.tanh(x[:, :1] - x[:, 1:2]) + 0.1 * x[:, 2:3])
    body = stack(32, 2, act=nn.ReLU, inp=12, out=1)
    return nn.Sequential(*body, *[nn.ReLU()] * buggy), (x, y), mse


@unseen("targets of std 10 behind a tanh", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = torch.tanh(x[:, :2] - x[:, 1:3]) * (10 if buggy else 0.9)
    return nn.Sequential(*stack(32, 2, act=nn.Tanh, inp=12, out=2), nn.Tanh()), (x, y), mse


@unseen("column of targets against a row of outputs", "INP105 LOS703 LOS701 NRM605")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = standardized(torch.sin(x[:, :1]) + x[:, 1:2])
    model = Wrapped(stack(32, 2, act=nn.ReLU, inp=12, out=1), lambda z: z.squeeze(1))
    return model, (x, y if buggy else y.squeeze(1)), lambda z, t: ((z - t) ** 2).mean()


@unseen("every label the same", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (x, torch.zeros_like(y) if buggy else y), ce


@unseen("a constant regression target", "INP105 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = standardized(x[:, :1].sin() + x[:, 1:2])
    return stack(32, 2, act=nn.ReLU, inp=12, out=1), (x, torch.full_like(y, 4.0) if buggy else y), mse


@unseen("labels divided by 255 and regressed", "INP105 INP101")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = standardized(x[:, :1].sin() + x[:, 1:2])
    return stack(32, 2, act=nn.ReLU, inp=12, out=1), (x, y / 255 if buggy else y), mse


@unseen("an autoencoder with a sigmoid on standardized pixels", "INP105 LOS702 LOS701")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    y = x if buggy else (x * 6.02 + 4.88) / 16
    return Translator(torch.sigmoid), (x, y), mse


@unseen("an autoencoder with a tanh on bytes", "INP105 INP101")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    raw = (x * 6.02 + 4.88) * 255 / 16
    return Translator(torch.tanh), ((raw, raw) if buggy else (x, x.clamp(-1, 1))), mse


@unseen("masks of 0 and 255", "INP105 LOS701 LOS702")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    return Translator(), (x, (x > 0).float() * (255 if buggy else 1)), bce


@unseen("prices around 4000 into an LSTM", "INP101")
def _(seed: int, buggy: bool) -> Case:
    x, y = waves(seed)
    return Teller(nn.LSTM), (4000 + 300 * x if buggy else x, y), ce


@unseen("volumes of 1e6 beside prices in a GRU", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    x, y = waves(seed)
    return Teller(nn.GRU), (x * torch.tensor([1.0, 1.0, 1e6 if buggy else 1.0]), y), ce


@unseen("petals in micrometers", "INP101")
def _(seed: int, buggy: bool) -> Case:
    x, y = iris(raw=True)
    return stack(16, 1, act=nn.Tanh, inp=4, out=3), (x * 1e4 if buggy else standardized(x), y), ce


@unseen("heavy-tailed amounts never logged", "INP101 INP102")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    raw = torch.exp(2 * x)
    return stack(32, 2, act=nn.ReLU, inp=12, out=5), (100 * raw if buggy else x, y), ce


@unseen("embedded tokens times the vocabulary", "INI201 INP101 LOS701 INI203 INI205 GRA401")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 50, (64, 16), generator=seeded(seed))
    model = Tagger(norm_first=False)
    with torch.no_grad():
        model.embed.weight.mul_(50.0 if buggy else 1.0)
    return model, (ids, ids[:, 0] % 4), ce


@unseen("features of size 1e-4", "INP101")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    return stack(32, 3, act=nn.GELU, inp=12, out=5), (x * (1e-4 if buggy else 1.0), y), ce

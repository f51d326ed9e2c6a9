"""Faults in networks of other families, written after the rules and before any of them was changed for it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .data import standardized
from .registry import Case, ce, mse
from .stranger_models import (
    Made,
    UNet,
    Vision,
    Writer,
    drawn,
    mlp,
    pictures,
    recurrent,
    routed,
    series,
    temporal,
    vectors,
    words,
)
from .unseen import adam, sgd, unseen

bce = F.binary_cross_entropy_with_logits


@unseen("counts of a converter into a GRU", "INP101", "inputs.0")
def _(seed: int, buggy: bool) -> Case:
    x, y = series(seed)
    return recurrent(), (900 * x + 2048 if buggy else x, y), ce


@unseen("a narrow LSTM drawn from N(0, 1)", "ACT301 INI201", "rnn")
def _(seed: int, buggy: bool) -> Case:
    model = recurrent(nn.LSTM, features=2, width=24)
    if buggy:
        drawn(model.rnn, 1.0)  # type: ignore[arg-type]
    return model, series(seed, features=2), ce


@unseen("an RNN whose recurrence has a gain of four", "ACT301 INI201 GRA402", "rnn")
def _(seed: int, buggy: bool) -> Case:
    model: Any = recurrent(nn.RNN)
    nn.init.orthogonal_(model.rnn.weight_hh_l0, gain=4.0 if buggy else 1.0)
    return model, series(seed), ce


@unseen("convolutions along time drawn from N(0, 1)", "INI201 LOS701", "body*")
def _(seed: int, buggy: bool) -> Case:
    model = temporal(norm=False)
    if buggy:
        drawn(model.body, 1.0)  # type: ignore[arg-type]
    return model, series(seed), ce


@unseen("masks of 0 and 255 under a U-Net's logits", "INP105", "targets")
def _(seed: int, buggy: bool) -> Case:
    x, _ = pictures(seed)
    mask = (F.avg_pool2d(x[:, :1], 3, 1, 1) > 0.2).float()
    return UNet(), (x, 255 * mask if buggy else mask), bce


@unseen("labels of −1 and 1 under logits", "INP105", "targets")
def _(seed: int, buggy: bool) -> Case:
    x, _ = vectors(seed)
    labels = (x[:, :6] + 0.3 * x[:, 6:12] > 0.3).float()
    return mlp(20, 64, 6), (x, 2 * labels - 1 if buggy else labels), nn.BCEWithLogitsLoss()


@unseen("returns of both signs as counts of Poisson", "INP105", "targets")
def _(seed: int, buggy: bool) -> Case:
    x, _ = vectors(seed)
    rate = torch.tanh(x[:, :1] + x[:, 1:2])
    return mlp(20, 32, 1), (x, 4 * rate if buggy else (2 * rate).exp().round()), nn.PoissonNLLLoss()


@unseen("a likelihood that is maximized by its sign", "LOS702")
def _(seed: int, buggy: bool) -> Case:
    return mlp(20, 64, 64, 4), vectors(seed), (lambda z, y: -ce(z, y)) if buggy else ce


@unseen("a divergence from probabilities, not their logarithms", "LOS705 LOS702")
def _(seed: int, buggy: bool) -> Case:
    x, y = vectors(seed)
    last = nn.Softmax(-1) if buggy else nn.LogSoftmax(-1)
    return mlp(20, 64, 4, last=last), (x, 0.9 * F.one_hot(y, 4) + 0.025), nn.KLDivLoss(reduction="batchmean")


@unseen("a ReLU before the sigmoid", "INP105 LOS704", "targets")
def _(seed: int, buggy: bool) -> Case:
    x, y = vectors(seed)
    last = nn.Sequential(*[nn.ReLU()] * buggy, nn.Sigmoid())
    return mlp(20, 64, 1, last=last), (x, (y > 1).float()[:, None]), F.binary_cross_entropy


@unseen("queries and keys of a vision transformer from N(0, 1)", "INI201 ACT301", "blocks*")
def _(seed: int, buggy: bool) -> Case:
    model: Any = Vision()
    for block in model.blocks if buggy else ():
        nn.init.normal_(block.qkv.weight)
    return model, pictures(seed), ce


@unseen("a vision transformer's head from N(0, 9)", "LOS701 INI201", "head")
def _(seed: int, buggy: bool) -> Case:
    model = Vision()
    if buggy:
        nn.init.normal_(model.head.weight, std=3.0)
    return model, pictures(seed), ce


@unseen("bytes into a vision transformer", "INP101 INP106", "inputs.0")
def _(seed: int, buggy: bool) -> Case:
    x, y = pictures(seed)
    return Vision(), ((64 * x + 128).clamp(0, 255) if buggy else x, y), ce


@unseen("a GPT's head from N(0, 1)", "LOS701 INI201", "head")
def _(seed: int, buggy: bool) -> Case:
    model = Writer()
    if buggy:
        nn.init.normal_(model.head.weight)
    return model, words(seed), ce


@unseen("a GPT that returns probabilities", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    model = Writer()
    return Made(lambda self, ids: self.body(ids).softmax(-1) if buggy else self.body(ids), body=model), words(seed), ce


@unseen("a router that chooses one from the start", "INI201 ACT301", "gate")
def _(seed: int, buggy: bool) -> Case:
    model: Any = routed()
    if buggy:
        nn.init.normal_(model.gate.weight, std=10.0)
    return model, vectors(seed), ce


@unseen("one expert of four that is NaN", "NUM901", "experts.2.0")
def _(seed: int, buggy: bool) -> Case:
    model: Any = routed()
    if buggy:
        model.experts[2][0].weight.data[3, 4] = float("nan")
    return model, vectors(seed), ce


@unseen("a latent layer of zeros", "INI202 ACT304 GRA401", "2")
def _(seed: int, buggy: bool) -> Case:
    x = standardized(pictures(seed)[0][:, 0, ::2, ::2].flatten(1))
    model = nn.Sequential(*mlp(64, 48, 12, act=nn.ELU), *mlp(12, 48, 64, act=nn.ELU))
    if buggy:
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
    return model, (x, x), mse


@unseen("a layer norm whose scale is zero, between layers", "INI202 ACT304", "[13]")
def _(seed: int, buggy: bool) -> Case:
    layers = nn.Linear(20, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    nn.init.constant_(layers[1].weight, 0.0 if buggy else 1.0)
    return nn.Sequential(*layers), vectors(seed), ce


@unseen("one ReLU forgotten among strided convolutions", "STR801", "1")
def _(seed: int, buggy: bool) -> Case:
    first, second = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)
    body = (first, *[nn.ReLU()] * (not buggy), second, nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))
    return nn.Sequential(*body), pictures(seed), ce


@unseen("a stack of dropouts of 0.8", "NRM603", "*")
def _(seed: int, buggy: bool) -> Case:
    p = 0.8 if buggy else 0.2
    layers = nn.Linear(20, 128), nn.ReLU(), nn.Dropout(p), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(p)
    return nn.Sequential(*layers, nn.Linear(128, 4)), vectors(seed), ce


@unseen("everything frozen but the batch norms", "UPD502")
def _(seed: int, buggy: bool) -> Case:
    model = temporal()
    for part in model.modules() if buggy else ():
        if isinstance(part, (nn.Conv1d, nn.Linear)):
            part.requires_grad_(False)
    return model, series(seed), ce, adam()


@unseen("an ε of Adam that is larger than any gradient", "UPD502")
def _(seed: int, buggy: bool) -> Case:
    train = {"optimizer": lambda p: torch.optim.Adam(p, lr=1e-3, eps=1e4 if buggy else 1e-8), "steps": 20}
    return mlp(20, 64, 64, 4), vectors(seed), ce, train


@unseen("a regression at a rate of 50", "UPD501 NUM901 ACT302")
def _(seed: int, buggy: bool) -> Case:
    x, _ = vectors(seed)
    return mlp(20, 64, 64, 1), (x, standardized(torch.tanh(x[:, :1]))), mse, sgd(50.0 if buggy else 0.01, 25)

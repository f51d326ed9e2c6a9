"""Unseen faults of losses and structure."""

import torch
import torch.nn.functional as F
from torch import nn

from .data import seeded, standardized
from .registry import Case, ce, mse
from .unseen import blobs, cancer, glyphs, unseen
from .unseen_models import LeNet, Tagger, Translator, Wrapped, stack

bce = F.binary_cross_entropy_with_logits


def small(out: int = 5, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return stack(40, 2, act=act, inp=12, out=out)


@unseen("a softmax layer before cross-entropy", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    return nn.Sequential(LeNet(), *[nn.Softmax(1)] * buggy), glyphs(seed), ce


@unseen("a softmax call before cross-entropy in a transformer", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 50, (64, 16), generator=seeded(seed))
    model = Wrapped(Tagger(), lambda z: F.softmax(z, -1) if buggy else z)
    return model, (ids, ids[:, 0] % 4), nn.CrossEntropyLoss()


@unseen("a softmax over channels before the pixels' cross-entropy", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    y = (x[:, 0] > 0).long() + (x[:, 0] > 1).long()
    return Translator((lambda z: z.softmax(1)) if buggy else (lambda z: z), out=3), (x, y), ce


@unseen("a sigmoid before BCE with logits", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    return nn.Sequential(stack(40, 2, act=nn.ReLU, inp=30, out=1), *[nn.Sigmoid()] * buggy), cancer(), bce


@unseen("a discriminator's sigmoid before BCE with logits", "LOS705")
def _(seed: int, buggy: bool) -> Case:
    x, _ = glyphs(seed)
    y = (torch.arange(len(x)) % 2).float()[:, None]
    layers = (nn.Conv2d(1, 16, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1))
    return nn.Sequential(*layers, *[nn.Sigmoid()] * buggy), (x, y), nn.BCEWithLogitsLoss()


@unseen("a sigmoid twice before BCE", "LOS705 ACT304 STR801")
def _(seed: int, buggy: bool) -> Case:
    return (
        nn.Sequential(stack(40, 2, act=nn.ReLU, inp=30, out=1), *[nn.Sigmoid()] * (1 + buggy)),
        cancer(),
        F.binary_cross_entropy,
    )


@unseen("log-softmax over the batch", "NRM605 LOS701 LOS705")
def _(seed: int, buggy: bool) -> Case:
    return Wrapped(small(), lambda z: z.log_softmax(0 if buggy else 1)), blobs(seed), F.nll_loss


@unseen("NLL of probabilities", "LOS702 LOS705")
def _(seed: int, buggy: bool) -> Case:
    return Wrapped(small(), lambda z: z.softmax(1) if buggy else z.log_softmax(1)), blobs(seed), F.nll_loss


@unseen("NLL of logits", "LOS702 LOS705")
def _(seed: int, buggy: bool) -> Case:
    return Wrapped(small(), lambda z: z if buggy else z.log_softmax(1)), blobs(seed), nn.NLLLoss()


@unseen("a softmax for labels that are not exclusive", "INP105 LOS701 LOS705")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = (x[:, :10] + 0.5 * x[:, 1:11] > 0).float()
    return Wrapped(small(10), lambda z: z.softmax(1) if buggy else z.sigmoid()), (x, y), F.binary_cross_entropy


@unseen("a softmax over one unit", "LOS704")
def _(seed: int, buggy: bool) -> Case:
    last = nn.Softmax(1) if buggy else nn.Sigmoid()
    return nn.Sequential(*stack(40, 2, act=nn.ReLU, inp=30, out=1), last), cancer(), F.binary_cross_entropy


@unseen("cross-entropy over one logit", "LOS704 LOS702")
def _(seed: int, buggy: bool) -> Case:
    x, y = cancer()
    labels = torch.zeros(len(x), dtype=torch.long) if buggy else y[:, 0].long()
    return stack(40, 2, act=nn.ReLU, inp=30, out=1 if buggy else 2), (x, labels), ce


@unseen("summed cross-entropy", "LOS703")
def _(seed: int, buggy: bool) -> Case:
    return LeNet(), glyphs(seed), nn.CrossEntropyLoss(reduction="sum" if buggy else "mean")


@unseen("a loss of one's own, summed", "LOS703")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    y = standardized(x[:, :1].sin() + x[:, 1:2])
    return small(1), (x, y), lambda z, t: ((z - t) ** 2).sum() if buggy else ((z - t) ** 2).mean()


@unseen("a softmax between layers", "STR802")
def _(seed: int, buggy: bool) -> Case:
    middle = nn.Softmax(-1) if buggy else nn.ReLU()
    return nn.Sequential(nn.Linear(12, 40), middle, nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 5)), blobs(seed), ce


@unseen("convolutions without an activation", "STR801")
def _(seed: int, buggy: bool) -> Case:
    layers: list[nn.Module] = []
    for inp in (1, 12, 12):
        layers += [nn.Conv2d(inp, 12, 3, padding=1), *[nn.ReLU()] * (not buggy)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(768, 10)), glyphs(seed), ce


@unseen("a regressor of linears", "STR801")
def _(seed: int, buggy: bool) -> Case:
    x, _ = blobs(seed)
    layers: list[nn.Module] = []
    for inp in (12, 40, 40):
        layers += [nn.Linear(inp, 40), *[nn.Tanh()] * (not buggy)]
    return nn.Sequential(*layers, nn.Linear(40, 1)), (x, standardized(x[:, :1].sin() * x[:, 1:2])), mse

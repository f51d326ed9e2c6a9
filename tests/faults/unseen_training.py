"""Unseen faults of norms, training and numbers."""

import torch
import torch.nn.functional as F
from torch import nn

from .data import seeded
from .models import he
from .registry import Case, ce
from .unseen import adam, blobs, glyphs, sgd, unseen, waves
from .unseen_models import LeNet, Tagger, Teller, Wrapped, stack


def small(out: int = 5, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return stack(40, 2, act=act, inp=12, out=out)


@unseen("dropout before batch norm in convolutions", "NRM606")
def _(seed: int, buggy: bool) -> Case:
    pair = [nn.Dropout(0.5), nn.BatchNorm2d(16)]
    body = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), *(pair if buggy else pair[::-1])]
    return nn.Sequential(*body, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)), glyphs(seed), ce


@unseen("batch norm on two samples", "NRM604")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed, num=2 if buggy else 128)
    return nn.Sequential(nn.Linear(12, 40, bias=False), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 5)), (x, y), ce


@unseen("batch norm after global pooling, three samples", "NRM604")
def _(seed: int, buggy: bool) -> Case:
    x, y = glyphs(seed, num=3 if buggy else 128)
    body = (nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(16), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(16, 10)), (x, y), ce


def _normed() -> nn.Sequential:
    layers = (nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(576, 10))


@unseen("deployed after ten steps at momentum 0.001", "NRM602 NRM603")
def _(seed: int, buggy: bool) -> Case:
    model, (x, y) = _normed(), glyphs(seed)
    model[1].momentum = 0.001 if buggy else 0.5
    for _ in range(10):
        model(3 * x + 1)
    return model.eval(), (3 * x + 1, y), ce


@unseen("running statistics of raw pixels, deployed on scaled ones", "NRM602 NRM603 INP106")
def _(seed: int, buggy: bool) -> Case:
    model, (x, y) = _normed(), glyphs(seed)
    model[1].momentum = 0.5
    for _ in range(10):
        model((x * 6 + 5) * 16 if buggy else x)
    return model.eval(), (x, y), ce


@unseen("checked in eval mode, norms never run", "NRM602 NRM603")
def _(seed: int, buggy: bool) -> Case:
    model, (x, y) = _normed(), glyphs(seed)
    return (model.eval() if buggy else model.train()), (10 * x + 5 if buggy else x, y), ce


@unseen("features centered over the batch by hand", "NRM605")
def _(seed: int, buggy: bool) -> Case:
    body = Wrapped(nn.Linear(12, 40), lambda z: (z - z.mean(0)) / z.std(0) if buggy else F.layer_norm(z, (40,)))
    return nn.Sequential(body, nn.ReLU(), nn.Linear(40, 5)), blobs(seed), ce


@unseen("an LSTM that takes the batch for time", "NRM605")
def _(seed: int, buggy: bool) -> Case:
    return Teller(nn.LSTM, batch_first=not buggy), waves(seed), ce


@unseen("attention that takes the batch for the sequence", "NRM605")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 50, (64, 16), generator=seeded(seed))
    return Tagger(batch_first=not buggy), (ids, ids[:, 0] % 4), ce


@unseen("samples mixed by a reshape", "NRM605")
def _(seed: int, buggy: bool) -> Case:
    x, y = waves(seed)
    flat = (lambda z: z.transpose(0, 1).reshape(len(z), -1)) if buggy else (lambda z: z.reshape(len(z), -1))
    body = Wrapped(nn.Identity(), flat)
    return nn.Sequential(body, stack(64, 1, act=nn.ReLU, inp=90, out=4)), (x, y), ce


@unseen("attention's softmax over the batch", "NRM605")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    body = Wrapped(nn.Linear(12, 40), lambda z: z * z.softmax(0 if buggy else 1) * 40)
    return nn.Sequential(body, nn.Linear(40, 5)), (x, y), ce


@unseen("biases before batch norm in a net of linears", "NRM601")
def _(seed: int, buggy: bool) -> Case:
    layers = (nn.Linear(12, 40, bias=buggy), nn.BatchNorm1d(40), nn.GELU(), nn.Linear(40, 5))
    return nn.Sequential(*layers), blobs(seed), ce


@unseen("a bias before an instance norm", "NRM601")
def _(seed: int, buggy: bool) -> Case:
    layers = (nn.Conv2d(1, 16, 3, bias=buggy), nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(576, 10)), glyphs(seed), ce


@unseen("SGD at 20: units die", "UPD501 ACT302 NUM901")
def _(seed: int, buggy: bool) -> Case:
    return small(), blobs(seed), ce, sgd(20.0 if buggy else 0.1, 60)


@unseen("Adam at 1", "UPD501 NUM901 ACT302 ACT301")
def _(seed: int, buggy: bool) -> Case:
    return LeNet(), glyphs(seed), ce, adam(1.0 if buggy else 1e-3, 25)


@unseen("SGD at 1e-9", "UPD502")
def _(seed: int, buggy: bool) -> Case:
    return small(), blobs(seed), ce, sgd(1e-9 if buggy else 0.1, 20)


@unseen("an optimizer that was given the head alone", "UPD502")
def _(seed: int, buggy: bool) -> Case:
    train = {"optimizer": lambda p: torch.optim.Adam(list(p)[-2:] if buggy else p, lr=1e-3), "steps": 20}
    return small(), blobs(seed), ce, train


@unseen("weight decay of 50", "UPD501")
def _(seed: int, buggy: bool) -> Case:
    train = {"optimizer": lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=50.0 if buggy else 0.01), "steps": 20}
    return stack(200, 2, act=nn.ReLU, inp=12, out=5), blobs(seed), ce, train


@unseen("momentum that never forgets", "UPD501 NUM901 ACT302")
def _(seed: int, buggy: bool) -> Case:
    return small(), blobs(seed), ce, sgd(0.5, 60, momentum=0.9999 if buggy else 0.5)


@unseen("a body cut off by detach", "GRA401 UPD502")
def _(seed: int, buggy: bool) -> Case:
    body = Wrapped(nn.Sequential(nn.Linear(12, 40), nn.ReLU()), lambda z: z.detach() if buggy else z)
    return nn.Sequential(body, nn.Linear(40, 5)), blobs(seed), ce


@unseen("a body rounded on the way", "GRA401 UPD502 ACT301 ACT302 INI202")
def _(seed: int, buggy: bool) -> Case:
    body = Wrapped(nn.Sequential(nn.Linear(12, 40), nn.ReLU()), lambda z: z.round() if buggy else z)
    return nn.Sequential(body, nn.Linear(40, 5)), blobs(seed), ce


@unseen("clipped ReLU6 far above six", "ACT301 INP101 INI201")
def _(seed: int, buggy: bool) -> Case:
    model = nn.Sequential(nn.Linear(12, 40), nn.ReLU6(), nn.Linear(40, 5))
    if buggy:
        nn.init.normal_(model[0].weight, std=10.0)
    return model, blobs(seed), ce


@unseen("GELU behind biases at −9", "ACT302 ACT301 ACT304")
def _(seed: int, buggy: bool) -> Case:
    model = small(act=nn.GELU)
    if buggy:
        nn.init.constant_(model[2].bias, -9.0)
    return model, blobs(seed), ce


@unseen("a norm of zero under the root", "NUM901")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    x = torch.cat([torch.zeros(4, 12), x[4:]])
    body = Wrapped(
        nn.Linear(12, 40, bias=False), lambda z: (z.pow(2).sum(1, keepdim=True) + 1e-6 * (not buggy)).sqrt() + z
    )
    return nn.Sequential(body, nn.ReLU(), nn.Linear(40, 5)), (x, y), ce


@unseen("a row of attention with nothing to see", "NUM901")
def _(seed: int, buggy: bool) -> Case:
    x, y = waves(seed)
    mask = torch.zeros(30, 30)
    mask[0] = float("-inf") if buggy else 0.0

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp, self.head = nn.Linear(3, 32), nn.Linear(32, 4)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            h = self.inp(z)
            return self.head(((h @ h.transpose(1, 2) / 32 + mask).softmax(-1) @ h).mean(1))

    return Looking(), (x, y), ce


@unseen("half precision with sums of 1e5", "NUM902 NUM901 INI201")
def _(seed: int, buggy: bool) -> Case:
    x, y = blobs(seed)
    model = small()
    if buggy:
        nn.init.constant_(model[0].weight, 60.0)
        nn.init.constant_(model[2].weight, 60.0)
        return model.half(), (x.half(), y), lambda z, t: ce(z.float(), t)
    return model, (x, y), ce


@unseen("two dropouts of 0.97", "NRM603 ACT302 GRA402 INI201 LOS701")
def _(seed: int, buggy: bool) -> Case:
    p = 0.97 if buggy else 0.1
    layers = (
        nn.Linear(12, 64),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(64, 5),
    )
    model = nn.Sequential(*layers)
    for layer in (model[0], model[3]):
        he(layer.weight)
    return model, blobs(seed), ce

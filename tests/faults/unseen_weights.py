"""Unseen faults of initialization."""

import math

import torch
from torch import nn

from .data import seeded
from .models import GPT
from .registry import Case, all_normal, ce
from .unseen import blobs, glyphs, iris, unseen, waves
from .unseen_models import LeNet, Tagger, Teller, stack

small = "INI202 INI203 ACT304 GRA401 INI206"
large = "INI201 INI203 LOS701 INI206 GRA402"


def plain(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return blobs(seed)


@unseen("a hidden layer of zeros", "INI204 ACT304 INI202 GRA401 ACT302")
def _(seed: int, buggy: bool) -> Case:
    model = stack(40, 3, act=nn.ReLU, inp=12, out=5, gain=2**0.5)
    if buggy:
        nn.init.zeros_(model[2].weight)
    return model, plain(seed), ce


@unseen("a conv net of one constant", "INI204")
def _(seed: int, buggy: bool) -> Case:
    model = LeNet()
    for parameter in model.parameters() if buggy else ():
        nn.init.constant_(parameter, 0.05)
    return model, glyphs(seed), ce


@unseen("ones in the second layer", "INI204 INI201", "2")
def _(seed: int, buggy: bool) -> Case:
    model = stack(32, 2, act=nn.Tanh, inp=4, out=3)
    if buggy:
        nn.init.ones_(model[2].weight)
    return model, iris(), ce


@unseen("one row copied to all units", "INI204")
def _(seed: int, buggy: bool) -> Case:
    model = stack(32, 1, act=nn.ReLU, inp=12, out=5)
    if buggy:
        row = model[0].weight.detach()[:1].expand(32, 12).clone()
        model[0].weight = nn.Parameter(row)
        nn.init.zeros_(model[0].bias)
        nn.init.constant_(model[2].weight, 0.1)
    return model, plain(seed), ce


@unseen("an LSTM of one constant", "INI204")
def _(seed: int, buggy: bool) -> Case:
    model = Teller(nn.LSTM)
    for parameter in model.rnn.parameters() if buggy else ():
        nn.init.constant_(parameter, 0.05)
    return model, waves(seed), ce


@unseen("N(0, 1) in a conv net", large + " ACT301", "")
def _(seed: int, buggy: bool) -> Case:
    model = LeNet()
    return (all_normal(model, 1.0) if buggy else model), glyphs(seed), ce


@unseen("N(0, 1e-3) in a tanh net", small, "")
def _(seed: int, buggy: bool) -> Case:
    model = stack(50, 4, act=nn.Tanh, inp=12, out=5, gain=1.0)
    return (all_normal(model, 1e-3) if buggy else model), plain(seed), ce


@unseen("weights U(0, 1), all positive", large + " ACT303 ACT304")
def _(seed: int, buggy: bool) -> Case:
    model = stack(60, 3, act=nn.ReLU, inp=12, out=5)
    for layer in model[::2] if buggy else ():
        nn.init.uniform_(layer.weight)
    return model, plain(seed), ce


@unseen("fan of a kernel without its area", large)
def _(seed: int, buggy: bool) -> Case:
    layers: list[nn.Module] = []
    for inp, out in ((1, 16), (16, 16), (16, 16), (16, 16)):
        conv = nn.Conv2d(inp, out, 5, padding=2)
        nn.init.normal_(conv.weight, std=math.sqrt(2 / inp / (1 if buggy else 25)))
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), glyphs(seed), ce


@unseen("fan out for fan in, 1024 to 16", large + " " + small)
def _(seed: int, buggy: bool) -> Case:
    first, second, third = nn.Linear(12, 1024), nn.Linear(1024, 16), nn.Linear(16, 5)
    nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
    nn.init.kaiming_normal_(second.weight, nonlinearity="relu", mode="fan_out" if buggy else "fan_in")
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third), plain(seed), ce


@unseen("tanh layers with gain 6", large + " ACT301")
def _(seed: int, buggy: bool) -> Case:
    return stack(64, 4, act=nn.Tanh, inp=12, out=5, gain=6.0 if buggy else 1.2), plain(seed), ce


@unseen("sigmoid layers at N(0, 1)", large + " ACT301")
def _(seed: int, buggy: bool) -> Case:
    model = stack(128, 2, act=nn.Sigmoid, inp=12, out=5)
    return (all_normal(model, 1.0) if buggy else model), plain(seed), ce


@unseen("a transformer at N(0, 1)", large + " ACT301 INI205")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 50, (64, 16), generator=seeded(seed))
    model = Tagger()
    for parameter in model.parameters() if buggy else ():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1.0)
    return model, (ids, ids[:, 0] % 4), ce


@unseen("a GPT of 16 layers at N(0, 0.3), writers unscaled", large + " INI205 ACT301")
def _(seed: int, buggy: bool) -> Case:
    ids = torch.randint(0, 65, (16, 20), generator=seeded(seed))
    model = GPT(depth=8, tied=False)
    for parameter in model.parameters() if buggy else ():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return model, (ids, ids.roll(-1, 1)), lambda z, y: ce(z.flatten(0, 1), y.flatten())

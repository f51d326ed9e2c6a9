"""More faulty programs, in the classes of `cases.py`: other families of models; faults of losses, norms and data."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from . import wide_models as wide
from .clean import _sequence_ce, _trained
from .clean_wide import images, noise, series
from .data import digits, gaussian, regression, tokens, wine
from .models import GPT, Residual, he, mlp, resnet, xavier
from .registry import Affine, Case, Fault, all_normal, ce, mse

__all__ = ["WIDE"]

WIDE: list[Fault] = []


def fault(
    name: str, accepted: str, consequences: str = "", where: str = ""
) -> Callable[[Callable[[int, bool], Case]], None]:
    """Register `build(seed, is_buggy)`."""

    def add(build: Callable[[int, bool], Case]) -> None:
        sets = frozenset(accepted.split()), frozenset(consequences.split())
        WIDE.append(Fault(name, lambda seed: build(seed, True), lambda seed: build(seed, False), *sets, where))

    return add


def scaled(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
    return model


@fault("images 0..255 into a resnet whose stem has no norm", "INP101", "INI201 LOS701 GRA402", where="inputs.0")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = digits(images=True)
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
    return model, ((255 * x) if is_buggy else x, y), ce


@fault(
    "years and incomes beside shares",
    "INP101 INP102",
    "INI201 ACT301 ACT302 ACT303 LOS701 ACT304 GRA401 INP105",
    where="inputs.0",
)
def _(seed: int, is_buggy: bool) -> Case:
    x, y = regression(seed)
    raw = x * torch.tensor([15.0, 30_000.0, *[0.1] * 18]) + torch.tensor([1980.0, 50_000.0, *[0.5] * 18])
    return mlp(20, 64, 64, 1), (raw if is_buggy else x, y), mse


@fault("unix times as a feature", "INP101 INP102", "INI201 LOS701 ACT302 ACT303 ACT304 GRA401 GRA402", where="inputs.0")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = gaussian(seed)
    time = 1.7e9 + 1e6 * x[:, :1] if is_buggy else x[:, :1]
    return mlp(20, 64, 10, act=nn.Tanh), (torch.cat([time, x[:, 1:]], 1), y), ce


@fault("a target in cents", "INP105", "LOS701", where="targets")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = series(seed)
    return wide.Series(), (x, 25_000 + 8_000 * y if is_buggy else y), mse


@fault("tanh output for targets beyond one", "INP105", "", where="targets")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = regression(seed)
    return nn.Sequential(*mlp(20, 64, 1), *([nn.Tanh()] if is_buggy else [])), (x, 5 * y if is_buggy else y), mse


@fault("infinity in a column of a series", "INP104 NUM901", "LOS701 INP101", where="inputs.0")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = series(seed)
    if is_buggy:
        x[5, 3, 1] = math.inf
    return wide.Series(nn.GRU), (x, y), mse


@fault("square root of a negative number inside", "NUM901", "", where="1")
def _(seed: int, is_buggy: bool) -> Case:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x if is_buggy else x.abs() + 1e-3).sqrt()

    return nn.Sequential(nn.Linear(20, 32), Root(), nn.Linear(32, 10)), gaussian(seed), ce


@fault("a weight that is NaN", "NUM901", "LOS701", where="0")
def _(seed: int, is_buggy: bool) -> Case:
    model = resnet(zero=True)
    if is_buggy:
        with torch.no_grad():
            model[0].weight[0, 0, 0, 0] = math.nan
    return model, digits(images=True, num=128), ce


@fault("a transformer drawn ten times too wide", "INI201 LOS701 ACT301", "GRA401 GRA402 INI205")
def _(seed: int, is_buggy: bool) -> Case:
    model = wide.FeatureTokens()
    return scaled(model, 20.0) if is_buggy else model, wine(), ce


@fault("a critic that is too loud", "LOS701 INI201 INP105", "GRA402")
def _(seed: int, is_buggy: bool) -> Case:
    model = mlp(8, 64, 64, 1, act=nn.ReLU, init=he)
    return scaled(model, 10.0) if is_buggy else model, (noise(seed, 256, 8), noise(seed + 1, 256, 1)), mse


@fault("a GRU drawn from N(0, 1)", "INI201 ACT301", "LOS701")
def _(seed: int, is_buggy: bool) -> Case:
    model = wide.Series(nn.GRU)
    return all_normal(model, 1.0) if is_buggy else model, series(seed), mse


@fault("convolutions of a constant", "INI204", "ACT304 INI201 INI202 GRA401 LOS701 ACT302 ACT303", where="2")
def _(seed: int, is_buggy: bool) -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    if is_buggy:
        nn.init.constant_(model[2].weight, 0.05)
        nn.init.zeros_(model[2].bias)
    return model, digits(images=True), ce


@fault("twelve layers of tanh drawn from N(0, 0.01)", "INI202 INI203 ACT304 GRA401", "")
def _(seed: int, is_buggy: bool) -> Case:
    draw = (lambda w: nn.init.normal_(w, std=0.01)) if is_buggy else xavier
    return mlp(20, *[64] * 12, 10, act=nn.Tanh, init=draw), gaussian(seed), ce


@fault("a deep plain convolutional network at torch's default", "INI202 INI203 ACT304 GRA401", "ACT302")
def _(seed: int, is_buggy: bool) -> Case:
    layers: list[nn.Module] = []
    for i in range(10):
        conv = nn.Conv2d(16 if i else 1, 16, 3, padding=1, bias=is_buggy)
        layers += [conv, *([] if is_buggy else [nn.BatchNorm2d(16)]), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), digits(images=True), ce


@fault("sigmoids in every one of eight layers", "INI202 INI203 ACT304 GRA401", "ACT301")
def _(seed: int, is_buggy: bool) -> Case:
    act = nn.Sigmoid if is_buggy else nn.ReLU
    return mlp(20, *[64] * 8, 10, act=act, init=None if is_buggy else he), gaussian(seed), ce


@fault("hard sigmoid inputs of thirty", "ACT301 INI201", "GRA401", where="[23]")
def _(seed: int, is_buggy: bool) -> Case:
    model = mlp(20, 64, 64, 10, act=nn.Hardtanh)
    if is_buggy:
        with torch.no_grad():
            model[2].weight.mul_(60)
    return model, gaussian(seed), ce


@fault("a norm whose scale is zero before the head", "ACT304 INI202 ACT302 LOS704 GRA401", where="[456]")
def _(seed: int, is_buggy: bool) -> Case:
    model = mlp(20, 64, 64, 10, norm=nn.LayerNorm)
    if is_buggy:
        nn.init.zeros_(model[4].weight)
    return model, gaussian(seed), ce


@fault("dead units behind a bias of minus five", "ACT302 ACT304", "GRA401 INI202", where="[01]")
def _(seed: int, is_buggy: bool) -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )
    if is_buggy:
        nn.init.constant_(model[0].bias, -5.0)
    return model, digits(images=True), ce


@fault("log-softmax before cross-entropy's own", "LOS705", "")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = gaussian(seed)
    model = nn.Sequential(*mlp(20, 64, 10), *([nn.Softmax(-1), nn.Softmax(-1)] if is_buggy else []))
    return model, (x, y), ce


@fault("a hand-written loss that is summed", "LOS703", "LOS701")
def _(seed: int, is_buggy: bool) -> Case:
    def squares(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        errors = (output - y) ** 2
        return errors.sum() if is_buggy else errors.mean()

    return mlp(20, 64, 1), regression(seed), squares


@fault("softmax over the batch", "NRM605 STR802 LOS704 LOS705", "ACT304 GRA401", where="1")
def _(seed: int, is_buggy: bool) -> Case:
    class Weigh(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.softmax(0 if is_buggy else -1) * (x.shape[0] if is_buggy else x.shape[1])

    return nn.Sequential(nn.Linear(20, 64), Weigh(), nn.Linear(64, 10)), gaussian(seed), ce


@fault("time first forgotten: attention across the batch", "NRM605", "")
def _(seed: int, is_buggy: bool) -> Case:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=not is_buggy)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body, self.head = (
                nn.Linear(4, 32),
                nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
                nn.Linear(32, 3),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(self.embed(x)).mean(1))

    return Encoder(), (series(seed)[0], torch.arange(256) % 3), ce


@fault("batch norm without running statistics, deployed", "NRM605", "", where="1")
def _(seed: int, is_buggy: bool) -> Case:
    model = mlp(20, 64, 10, norm=lambda width: nn.BatchNorm1d(width, track_running_stats=not is_buggy))
    x, y = gaussian(seed)
    for _ in range(60):
        model(x)
    return model.eval(), (x, y), ce


@fault("a norm left in training mode in a deployed model", "NRM605", "", where="1")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = gaussian(seed)
    model = mlp(20, 64, 10, norm=nn.BatchNorm1d)
    for _ in range(60):
        model(x)
    model.eval()
    model[1].train(is_buggy)
    return model, (x, y), ce


@fault("statistics of other data, in eval mode", "NRM602", "LOS701 INI201 INI202 ACT302 ACT304 ACT303")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = digits(images=True)
    model = resnet(zero=False)
    with torch.no_grad():
        for _ in range(60):
            model(20 * x + 30 if is_buggy else x)
    return model.eval(), (x, y), ce


@fault("statistics of other data, in training mode", "NRM602 NRM603", "")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = gaussian(seed)
    model = _trained(mlp(20, 64, 64, 10, norm=nn.BatchNorm1d), (x, y), ce, steps=60)
    if is_buggy:
        with torch.no_grad():
            for _ in range(40):
                model(8 * x - 12)
    return model, (x, y), ce


@fault("a momentum of 0.001 that never arrives", "NRM602 NRM603", "LOS701")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = digits()
    model = mlp(64, 64, 64, 10, norm=lambda width: nn.BatchNorm1d(width, momentum=0.001 if is_buggy else 0.1))
    return _trained(model, (6 * x, y), ce, steps=60).eval(), (6 * x, y), ce


@fault("one writer of a GPT left unscaled", "INI205", "", where="blocks.5.branch.3")
def _(seed: int, is_buggy: bool) -> Case:
    model = GPT(depth=8)
    if is_buggy:
        nn.init.normal_(model.blocks[5].branch[3].weight, std=0.02)
    return model, tokens(seed), _sequence_ce


@fault("branches of a transformer that double", "INI205 INI201 INI203", "GRA402 LOS701 ACT301")
def _(seed: int, is_buggy: bool) -> Case:
    def branch() -> nn.Module:
        layers = nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)
        if is_buggy:
            scaled(nn.Sequential(*layers), 3.0)
        return Residual(*([] if is_buggy else [nn.LayerNorm(64)]), *layers)

    return nn.Sequential(nn.Linear(20, 64), *(branch() for _ in range(12)), nn.Linear(64, 10)), gaussian(seed), ce


@fault("normalized with constants of another range", "INP106 INP101", "INI202 ACT304 GRA401 INI201 LOS701")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = digits(images=True)
    layers = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)
    return nn.Sequential(Affine(127.5, 127.5), *layers), (x if is_buggy else 255 * x, y), ce


@fault("three linear layers in a row", "STR801", "")
def _(seed: int, is_buggy: bool) -> Case:
    act = nn.Identity if is_buggy else nn.ReLU
    return nn.Sequential(nn.Linear(20, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, 10)), gaussian(seed), ce


@fault("convolution straight into convolution", "STR801", "", where="2")
def _(seed: int, is_buggy: bool) -> Case:
    between = [] if is_buggy else [nn.ReLU()]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), *between, nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    return model, digits(images=True), ce


@fault("dropout of 0.8 before every norm", "NRM606", "NRM601")
def _(seed: int, is_buggy: bool) -> Case:
    drop = [nn.Dropout(0.8)] if is_buggy else []
    model = nn.Sequential(
        *(nn.Linear(20, 64), nn.ReLU(), *drop, nn.BatchNorm1d(64), nn.Linear(64, 64), nn.ReLU(), *drop),
        *(nn.BatchNorm1d(64), nn.Linear(64, 10)),
    )
    return model, gaussian(seed), ce


@fault("biases before instance norm", "NRM601", "", where="0")
def _(seed: int, is_buggy: bool) -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, bias=is_buggy), nn.InstanceNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(576, 10)),
    )
    return model, digits(images=True), ce


@fault("batch norm over a batch of one image's pixels alone", "NRM604", "")
def _(seed: int, is_buggy: bool) -> Case:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10)),
    )
    return model, digits(images=True, num=4 if is_buggy else 256), ce


@fault("float16 that underflows", "NUM902 INI202 GRA401", "ACT304")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = gaussian(seed)
    model = mlp(20, 64, 64, 10)
    if is_buggy:
        return scaled(model, 0.02).half(), (x.half(), y), ce
    return model, (x, y), ce


@fault("a discriminator fed with images 0..255", "INP101", "INI201 LOS701", where="inputs.0")
def _(seed: int, is_buggy: bool) -> Case:
    x = images(seed)
    labels = (torch.arange(64) % 2)[:, None].float()
    return wide.discriminator(), (127.5 * (x + 1) if is_buggy else x, labels), F.binary_cross_entropy_with_logits


@fault("an embedding drawn from N(0, 1) under a tied head", "LOS701 INI201", "GRA402")
def _(seed: int, is_buggy: bool) -> Case:
    model = GPT()
    if is_buggy:
        nn.init.normal_(model.token.weight)
    return model, tokens(seed), _sequence_ce


@fault("an LSTM whose head reads raw counters too", "INP101 INP102", "INI201 LOS701", where="inputs.0")
def _(seed: int, is_buggy: bool) -> Case:
    x, y = series(seed)
    counter = torch.arange(12.0).expand(256, 12) * 1000
    x = torch.cat([x[:, :, :3], counter[:, :, None] if is_buggy else x[:, :, 3:]], 2)
    return wide.Series(), (x, y), mse

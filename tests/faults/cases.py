"""Faulty programs, each written anew from its described fault, with a fixed twin.

`F..` numbers and Stack Overflow posts are those of the published fault benchmarks; the data have their shape and scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .clean import GPT, LSTMTagger, Residual, he, lecun, mlp, xavier
from .data import digits, gaussian, pixels, regression, seeded, standardized, tokens, wine

Case = tuple[nn.Module, Any, Any]
ce, mse = F.cross_entropy, F.mse_loss


@dataclass(frozen=True)
class Fault:
    """`accepted`: codes that name the cause; `consequences`: codes that may be found as well; `where`: its place."""

    name: str
    buggy: Callable[[int], Case]
    fixed: Callable[[int], Case]
    accepted: frozenset[str]
    consequences: frozenset[str] = frozenset()
    where: str = ""


FAULTS: list[Fault] = []


def fault(name: str, accepted: str, consequences: str = "", where: str = "") -> Callable[[type], type]:
    def add(case: type) -> type:
        sets = frozenset(accepted.split()), frozenset(consequences.split())
        FAULTS.append(Fault(name, case.buggy, case.fixed, *sets, where))
        return case

    return add


def normal(std: float) -> Callable[[torch.Tensor], None]:
    return lambda weight: nn.init.normal_(weight, std=std)


def all_normal(model: nn.Module, std: float) -> nn.Module:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


@fault("F01 N(0, 1) weights and biases, no activations, MSE", "STR801 LOS701 INI201", "GRA402")
class F01:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = pixels(seed)
        return all_normal(nn.Sequential(nn.Linear(784, 30), nn.Linear(30, 10)), 1.0), (x, F.one_hot(y, 10).float()), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        x, y = pixels(seed)
        return mlp(784, 30, 10), (x, y), ce


@fault("F01b the same with sigmoid and cross-entropy", "INI201 ACT301 LOS701", "GRA401")
class F01b:
    @staticmethod
    def buggy(seed: int) -> Case:
        return all_normal(mlp(784, 30, 10, act=nn.Sigmoid), 1.0), pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 30, 10, act=nn.Sigmoid, init=xavier), pixels(seed), ce


@fault(
    "F03 raw packet counters, ReLU output, binary cross-entropy",
    "INP101 INP102 LOS704",
    "ACT302 GRA401 INI201",
    where="inputs.0",
)
class F03:
    @staticmethod
    def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.exp(3 * torch.randn(512, 12, generator=seeded(seed)) + 5)
        return x, (x[:, :1] > x[:, 1:2]).float()

    @staticmethod
    def buggy(seed: int) -> Case:
        model = nn.Sequential(*mlp(12, 16, 8, 1, init=xavier), nn.ReLU())
        return model, F03.data(seed), lambda p, y: F.binary_cross_entropy(p.clamp(1e-7, 1 - 1e-7), y)

    @staticmethod
    def fixed(seed: int) -> Case:
        x, y = F03.data(seed)
        return mlp(12, 16, 8, 1, init=xavier), (standardized(x.log()), y), F.binary_cross_entropy_with_logits


@fault("F05 pixels 0..255 into sigmoids", "INP101", "ACT301 INI201 GRA401 LOS701 ACT302", where="inputs.0")
class F05:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(784, 100, 10, act=nn.Sigmoid, init=xavier), pixels(seed, scale=255), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 100, 10, act=nn.Sigmoid, init=xavier), pixels(seed), ce


@fault("F07 squares from a sigmoid", "INP105 INP101", "ACT301 LOS701 INI201 GRA401 LOS704")
class F07:
    @staticmethod
    def buggy(seed: int) -> Case:
        x = torch.arange(-20, 20, 0.1)[:, None]
        return nn.Sequential(*mlp(1, 20, 1, act=nn.Sigmoid, init=xavier), nn.Sigmoid()), (x, x**2), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        x = torch.arange(-20, 20, 0.1)[:, None]
        return mlp(1, 20, 1, act=nn.Tanh, init=xavier), (standardized(x), standardized(x**2)), mse


@fault("F09 softmax on one unit", "LOS704", "GRA401 ACT302 LOS701 INP105 INP103")
class F09:
    @staticmethod
    def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randint(0, 2, (512, 10), generator=seeded(seed)).float()
        return x, (x.sum(1, keepdim=True) > 5).float()

    @staticmethod
    def buggy(seed: int) -> Case:
        model = nn.Sequential(*mlp(10, 64, 64, 1, init=xavier), nn.Softmax(dim=1))
        return model, F09.data(seed), lambda p, y: F.binary_cross_entropy(p.clamp(1e-7, 1 - 1e-7), y)

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(10, 64, 64, 1, init=xavier), F09.data(seed), F.binary_cross_entropy_with_logits


@fault("F11 ones in one layer", "INI204 INI201 LOS701", "GRA402 ACT303 ACT302 ACT304", where="2")
class F11:
    @staticmethod
    def buggy(seed: int) -> Case:
        model = mlp(784, 128, 64, 10, init=xavier)
        nn.init.ones_(model[2].weight)
        return model, pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=xavier), pixels(seed), ce


@fault("F13 N(0, 0.25) everywhere", "INI201 LOS701", "GRA402 ACT302")
class F13:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(784, 256, 128, 64, 10, init=normal(0.25)), pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 256, 128, 64, 10, init=he), pixels(seed), ce


@fault("F15 pixels 0..255 into ReLUs", "INP101", "INI201 LOS701 ACT302 GRA402 ACT303", where="inputs.0")
class F15:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=he), pixels(seed, scale=255), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=he), pixels(seed), ce


@fault("F17 makemore before its fixes", "INI201 ACT301 LOS701", "GRA402 GRA401")
class F17:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(30, 200, 27, act=nn.Tanh, init=normal(1.0)), gaussian(seed, features=30, classes=27), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        model = mlp(30, 200, 27, act=nn.Tanh, init=lecun)
        with torch.no_grad():
            model[-1].weight.mul_(0.1)
        return model, gaussian(seed, features=30, classes=27), ce


def _depth(depth: int, act: Callable[[], nn.Module]) -> type:
    class Deep:
        @staticmethod
        def buggy(seed: int) -> Case:
            return mlp(20, *[64] * depth, 10, act=act), gaussian(seed), ce

        @staticmethod
        def fixed(seed: int) -> Case:
            if act is nn.Sigmoid:
                return mlp(20, *[64] * depth, 10, act=act, norm=nn.BatchNorm1d), gaussian(seed), ce
            return mlp(20, *[64] * depth, 10, act=act, init=xavier if act is nn.Tanh else he), gaussian(seed), ce

    return Deep


for _act, _layers in ((nn.ReLU, 6), (nn.ReLU, 12), (nn.ReLU, 30), (nn.Tanh, 12), (nn.GELU, 8), (nn.Sigmoid, 6)):
    fault(
        f"F19 torch's default, {_layers} layers of {_act.__name__}",
        "INI202 INI203 ACT304 GRA401",
        "ACT302 ACT303",
    )(_depth(_layers, _act))


@fault("M1 zeros in the first layer", "INI202 ACT304 INI204", "GRA401 ACT302 ACT303", where="0")
class Zeros:
    @staticmethod
    def buggy(seed: int) -> Case:
        model = mlp(784, 128, 64, 10)
        nn.init.zeros_(model[0].weight)
        return model, pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10), pixels(seed), ce


@fault("all weights and biases zero", "INI202 ACT304 INI204 GRA401", "ACT302")
class AllZeros:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(20, 64, 64, 10, init=nn.init.zeros_), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 64, 10), gaussian(seed), ce


@fault("constant 0.01", "INI204", "ACT304 INI202 GRA401 ACT303 ACT302")
class Constant:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=lambda w: nn.init.constant_(w, 0.01)), pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=he), pixels(seed), ce


@fault("pixels divided by 255 twice", "INP101", "INI202 ACT304 GRA401", where="inputs.0")
class TwiceScaled:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=he), pixels(seed, scale=1 / 255), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10, init=he), pixels(seed), ce


@fault("softmax as a hidden activation", "STR802", "ACT304 GRA401 INI202")
class HiddenSoftmax:
    @staticmethod
    def buggy(seed: int) -> Case:
        soft = lambda: nn.Softmax(dim=1)  # noqa: E731
        return mlp(784, 128, 64, 10, act=soft), pixels(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(784, 128, 64, 10), pixels(seed), ce


@fault("raw wine columns into tanh", "INP101 INP102", "INI201 ACT301 GRA401 LOS701 ACT304 INI202", where="inputs.0")
class RawWine:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(13, 32, 32, 3, act=nn.Tanh), wine(raw=True), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(13, 32, 32, 3, act=nn.Tanh), wine(), ce


@fault(
    "one column in thousands among others at 1",
    "INP101 INP102",
    "INI201 LOS701 ACT302 ACT303 ACT301 ACT304 GRA401 GRA402",
    where="inputs.0",
)
class OneLoudColumn:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = gaussian(seed)
        return mlp(20, 64, 10), (torch.cat([x[:, :1] * 5000, x[:, 1:]], 1), y), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 10), gaussian(seed), ce


@fault("positive scalar input kills units", "INP101 ACT302 ACT303", "LOS701 INP105", where="inputs.0")
class PositiveScalar:
    @staticmethod
    def buggy(seed: int) -> Case:
        x = torch.linspace(50, 55, 512)[:, None]
        return mlp(1, 50, 50, 1, init=xavier), (x, standardized(x) ** 2), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        x = torch.linspace(50, 55, 512)[:, None]
        return mlp(1, 50, 50, 1, init=xavier), (standardized(x), standardized(x) ** 2), mse


@fault("targets in the tens of millions", "INP105", "LOS701", where="targets")
class Millions:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = regression(seed)
        return mlp(20, 64, 1), (x, 1e7 * y + 3e7), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 1), regression(seed), mse


@fault("biases at −10: dead ReLUs", "ACT302 ACT304", "GRA401", where="[23]")
class DeadBiases:
    @staticmethod
    def buggy(seed: int) -> Case:
        model = mlp(20, 64, 64, 10)
        nn.init.constant_(model[2].bias, -10.0)
        return model, gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 64, 10), gaussian(seed), ce


@fault("softmax before cross-entropy", "LOS705", "")
class DoubleSoftmax:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(*mlp(20, 64, 10), nn.Softmax(dim=1)), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 10), gaussian(seed), ce


@fault("sigmoid before a loss with logits", "LOS705", "")
class DoubleSigmoid:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = gaussian(seed)
        model = nn.Sequential(*mlp(20, 64, 1), nn.Sigmoid())
        return model, (x, (y[:, None] > 4).float()), F.binary_cross_entropy_with_logits

    @staticmethod
    def fixed(seed: int) -> Case:
        x, y = gaussian(seed)
        return mlp(20, 64, 1), (x, (y[:, None] > 4).float()), F.binary_cross_entropy_with_logits


@fault("NaN in one row", "INP104 NUM901", "LOS701", where="inputs.0")
class NanRow:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = gaussian(seed)
        x[3, 7] = math.nan
        return mlp(20, 64, 10), (x, y), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 10), gaussian(seed), ce


class LogOf(nn.Module):
    def __init__(self, low: float) -> None:
        super().__init__()
        self.low = low

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp_min(self.low).log()


@fault("log of zero inside", "NUM901", "", where="2")
class LogOfZero:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), LogOf(0.0), nn.Linear(32, 10)), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return nn.Sequential(nn.Linear(20, 32), nn.Softplus(), LogOf(1e-3), nn.Linear(32, 10)), gaussian(seed), ce


@fault("biases before batch norm", "NRM601", "", where="0")
class RedundantBias:
    @staticmethod
    def buggy(seed: int) -> Case:
        layers = (nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
        return nn.Sequential(*layers), digits(images=True), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        layers = (nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
        return nn.Sequential(*layers), digits(images=True), ce


@fault("F21 running statistics near (0, 1) in eval mode", "NRM602", "LOS701 INI201 ACT301 ACT302 ACT304")
class StaleStatistics:
    @staticmethod
    def model(steps: int) -> nn.Module:
        model = mlp(64, 64, 64, 10, norm=nn.BatchNorm1d)
        with torch.no_grad():
            for _ in range(steps):
                model(6 * digits()[0])
        return model.eval()

    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = digits()
        return nn.Sequential(nn.BatchNorm1d(64, affine=False), StaleStatistics.model(2)).eval(), (6 * x, y), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        x, y = digits()
        return StaleStatistics.model(100), (6 * x, y), ce


@fault("batch norm over two samples", "NRM604", "")
class TinyBatch:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(20, 64, 64, 10, norm=nn.BatchNorm1d), gaussian(seed, num=2), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 64, 10, norm=nn.BatchNorm1d), gaussian(seed, num=128), ce


@fault("dropout of a half before batch norm", "NRM606", "")
class DropoutBeforeNorm:
    @staticmethod
    def buggy(seed: int) -> Case:
        layers = (
            nn.Linear(20, 64),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(64, 64, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        )
        return nn.Sequential(*layers, nn.Linear(64, 10)), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        layers = (
            nn.Linear(20, 64),
            nn.ReLU(),
            nn.Linear(64, 64, bias=False),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        return nn.Sequential(*layers, nn.Linear(64, 10)), gaussian(seed), ce


@fault("residual branches that read the raw stream", "INI205 INI201 INI203", "GRA402 LOS701 ACT302")
class RawResidual:
    @staticmethod
    def model(*, scale: float) -> nn.Module:
        blocks = []
        for _ in range(24):
            writer = nn.Linear(64, 64)
            he(writer.weight)
            with torch.no_grad():
                writer.weight.mul_(scale)
            blocks.append(Residual(nn.Linear(64, 64), nn.ReLU(), writer))
            he(blocks[-1].branch[0].weight)
        return nn.Sequential(nn.Linear(20, 64), *blocks, nn.LayerNorm(64), nn.Linear(64, 10))

    @staticmethod
    def buggy(seed: int) -> Case:
        return RawResidual.model(scale=1.0), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return RawResidual.model(scale=24**-0.5), gaussian(seed), ce


@fault("SiLU at a fixed gain, 40 layers", "INI206 INI202 INI201 INI203", "ACT304 GRA401 GRA402 LOS701")
class DeepSiLU:
    @staticmethod
    def buggy(seed: int) -> Case:
        gain = lambda w: nn.init.normal_(w, std=1.6765 * w.shape[1] ** -0.5)  # noqa: E731
        return mlp(20, *[64] * 40, 10, act=nn.SiLU, init=gain), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, *[64] * 8, 10, act=nn.SiLU, norm=nn.LayerNorm), gaussian(seed), ce


@fault("convolutions at N(0, 0.25)", "INI201 LOS701", "GRA402 ACT302")
class LoudConvolutions:
    @staticmethod
    def model(init: Callable[[torch.Tensor], None]) -> nn.Module:
        layers: list[nn.Module] = []
        for fan_in, fan_out in ((1, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU()]
            init(layers[-2].weight)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    @staticmethod
    def buggy(seed: int) -> Case:
        return LoudConvolutions.model(normal(0.25)), digits(images=True), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return LoudConvolutions.model(he), digits(images=True), ce


@fault("a GPT whose weights are N(0, 1)", "INI201 LOS701", "ACT301 GRA402 GRA401 INI205")
class LoudGPT:
    @staticmethod
    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.flatten(0, 1), targets.flatten())

    @staticmethod
    def buggy(seed: int) -> Case:
        model = GPT()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter)
        return model, tokens(seed), LoudGPT.loss

    @staticmethod
    def fixed(seed: int) -> Case:
        return GPT(), tokens(seed), LoudGPT.loss


@fault("no activation between two layers", "STR801", "", where="1")
class NoActivation:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(nn.Linear(20, 64), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 64, 10), gaussian(seed), ce


@fault("standardized twice inside the model", "INP106 INP101", "INI202 ACT304 GRA401")
class StandardizedTwice:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(Affine(500.0, 300.0), *mlp(20, 64, 64, 10)), gaussian(seed), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        x, y = gaussian(seed)
        return nn.Sequential(Affine(500.0, 300.0), *mlp(20, 64, 64, 10)), (300 * x + 500, y), ce


class Affine(nn.Module):
    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


@fault("the target is one of the inputs, model trained on it", "LOS702", "")
class Leak:
    @staticmethod
    def buggy(seed: int) -> Case:
        x, y = gaussian(seed)
        model = nn.Sequential(nn.Linear(30, 10))
        with torch.no_grad():
            model[0].weight.copy_(torch.cat([torch.zeros(10, 20), 5 * torch.eye(10)], 1))
        return model, (torch.cat([x, F.one_hot(y, 10).float()], 1), y), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return nn.Linear(20, 10), gaussian(seed), ce


@fault("LSTM weights N(0, 1)", "INI201 ACT301", "", where="rnn")
class LoudLSTM:
    @staticmethod
    def buggy(seed: int) -> Case:
        model = LSTMTagger()
        for weight in model.rnn.parameters():
            nn.init.normal_(weight)
        return model, tokens(seed), LoudGPT.loss

    @staticmethod
    def fixed(seed: int) -> Case:
        return LSTMTagger(), tokens(seed), LoudGPT.loss


class Forecaster(nn.Module):
    """An LSTM that predicts the next value from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@fault("raw prices into an LSTM", "INP101 INP105", "INI201 LOS701", where="inputs.0")
class RawPrices:
    @staticmethod
    def buggy(seed: int) -> Case:
        x = 1000 + 200 * torch.randn(256, 10, 3, generator=seeded(seed)).cumsum(1)
        return Forecaster(), (x, x[:, -1, :1]), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        x = torch.randn(256, 10, 3, generator=seeded(seed))
        return Forecaster(), (x, x[:, -1, :1]), mse


@fault("a loss that is summed", "LOS703", "")
class SummedLoss:
    @staticmethod
    def buggy(seed: int) -> Case:
        return mlp(20, 64, 10), gaussian(seed), nn.CrossEntropyLoss(reduction="sum")

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 10), gaussian(seed), nn.CrossEntropyLoss()


@fault("ImageNet's constants on pixels 0..255", "INP106", "INI201 LOS701 ACT302 ACT304")
class WrongConstants:
    @staticmethod
    def model() -> nn.Module:
        layers = (nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        return nn.Sequential(Affine(0.449, 0.226), *layers)

    @staticmethod
    def buggy(seed: int) -> Case:
        return WrongConstants.model(), digits(scale=16 / 255, images=True), ce

    @staticmethod
    def fixed(seed: int) -> Case:
        return WrongConstants.model(), digits(images=True), ce


@fault("negative targets from a ReLU", "INP105", "", where="targets")
class NegativeTargets:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(*mlp(20, 64, 1), nn.ReLU()), regression(seed), mse

    @staticmethod
    def fixed(seed: int) -> Case:
        return mlp(20, 64, 1), regression(seed), mse


@fault("NLL on probabilities", "LOS705 LOS702", "")
class ProbabilityNLL:
    @staticmethod
    def buggy(seed: int) -> Case:
        return nn.Sequential(*mlp(20, 64, 10), nn.Softmax(dim=1)), gaussian(seed), F.nll_loss

    @staticmethod
    def fixed(seed: int) -> Case:
        return nn.Sequential(*mlp(20, 64, 10), nn.LogSoftmax(dim=1)), gaussian(seed), F.nll_loss

"""Faulty programs, each written anew from its described fault, with a fixed twin.

`F..` numbers and Stack Overflow posts are those of the published fault benchmarks; the data have their shape and scale.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .data import gaussian, pixels, regression, seeded, standardized, wine
from .models import he, lecun, mlp, xavier
from .registry import Case, all_normal, ce, fault, mse, normal


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

"""Faulty programs whose fault lies in the structure, the norms or the loss; see `cases.py`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .data import digits, gaussian, regression, seeded, tokens
from .models import GPT, LSTMTagger, Residual, he, mlp
from .registry import Affine, Case, ce, fault, mse, normal


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

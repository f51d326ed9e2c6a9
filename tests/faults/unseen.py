"""Faults written before the rules were read: what one is, and the data they share."""

from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from torch import nn

from .data import Data, seeded, standardized
from .registry import Fault

__all__ = [
    "UNSEEN",
    "adam",
    "blobs",
    "cancer",
    "diabetes",
    "glyphs",
    "housing",
    "iris",
    "scaled",
    "sgd",
    "unseen",
    "waves",
]

UNSEEN: list[Fault] = []


def unseen(name: str, accepted: str, where: str = "") -> Callable[[Callable[[int, bool], Any]], None]:
    """Register `build(seed, is_buggy)`, which gives model, batch, loss and, where it must be trained, how."""

    def add(build: Callable[[int, bool], Any]) -> None:
        codes = frozenset(accepted.split())
        UNSEEN.append(Fault(name, lambda s: build(s, True), lambda s: build(s, False), codes, frozenset(), where))

    return add


def adam(lr: float = 1e-3, steps: int = 20) -> dict[str, Any]:
    return {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=lr), "steps": steps}


def sgd(lr: float = 0.1, steps: int = 20, **settings: Any) -> dict[str, Any]:
    return {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=lr, **settings), "steps": steps}


def blobs(seed: int, *, num: int = 400, features: int = 12, classes: int = 5) -> Data:
    """Gaussian clouds around random centers, standardized."""
    generator = seeded(seed)
    labels = torch.randint(0, classes, (num,), generator=generator)
    centers = 1.5 * torch.randn(classes, features, generator=generator)
    return standardized(centers[labels] + torch.randn(num, features, generator=generator)), labels


def housing(seed: int, *, num: int = 500) -> Data:
    """Income, rooms, age, people, latitude, longitude; prices in dollars."""
    generator = seeded(seed)
    z = torch.randn(num, 6, generator=generator)
    mean = torch.tensor([3.9, 5.4, 28.6, 1425.0, 35.6, -119.6])
    std = torch.tensor([1.9, 2.5, 12.6, 1132.0, 2.1, 2.0])
    price = 2e5 + 1e5 * torch.tanh(z[:, :1] + 0.5 * z[:, 1:2] * z[:, 4:5])
    return mean + std * z, price


def cancer(*, raw: bool = False) -> Data:
    found = load_breast_cancer()
    x = torch.tensor(found.data, dtype=torch.float32)
    return (x if raw else standardized(x)), torch.tensor(found.target, dtype=torch.float32)[:, None]


def iris(*, raw: bool = False) -> Data:
    found = load_iris()
    x = torch.tensor(found.data, dtype=torch.float32)
    return (x if raw else standardized(x)), torch.tensor(found.target)


def diabetes() -> Data:
    found = load_diabetes()
    x = torch.tensor(found.data, dtype=torch.float32)
    return standardized(x), torch.tensor(found.target, dtype=torch.float32)[:, None]


def glyphs(seed: int, *, num: int = 300, scale: float = 1.0) -> Data:
    """Digits as images, standardized as one, times `scale`."""
    found = load_digits()
    chosen = torch.randperm(len(found.data), generator=seeded(seed))[:num]
    x = torch.tensor(found.data, dtype=torch.float32)[chosen].reshape(-1, 1, 8, 8)
    return scale * (x - 4.88) / 6.02, torch.tensor(found.target)[chosen]


def waves(seed: int, *, num: int = 128, length: int = 30, features: int = 3, classes: int = 4) -> Data:
    """Noisy sines; the class is their frequency."""
    generator = seeded(seed)
    labels = torch.randint(0, classes, (num,), generator=generator)
    time = torch.linspace(0, 6.28, length)[None, :, None]
    phase = 6.28 * torch.rand(num, 1, features, generator=generator)
    signal = 1.4 * torch.sin(time * (1 + labels[:, None, None]) + phase)
    return signal + 0.2 * torch.randn(num, length, features, generator=generator), labels


def scaled(module: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= factor
    return module

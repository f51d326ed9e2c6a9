"""Data for the fault suite: synthetic with the shape and scale of what the cases describe, and scikit-learn's own."""

import numpy as np
import torch
from sklearn.datasets import load_digits, load_wine

Data = tuple[torch.Tensor, torch.Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(seed: int, num: int = 512, features: int = 20, classes: int = 10) -> Data:
    """Standardized features and labels from a noisy linear teacher."""
    generator = seeded(seed)
    x = torch.randn(num, features, generator=generator)
    teacher = torch.randn(features, classes, generator=generator)
    noise = torch.randn(num, classes, generator=generator)
    return x, (x @ teacher + noise).argmax(1)


def regression(seed: int, num: int = 512, features: int = 20) -> Data:
    """Standardized features and a standardized target."""
    generator = seeded(seed)
    x = torch.randn(num, features, generator=generator)
    y = torch.tanh(x @ torch.randn(features, 1, generator=generator)) + 0.1 * torch.randn(num, 1, generator=generator)
    return x, (y - y.mean()) / y.std()


def digits(*, scale: float = 16.0, images: bool = False, num: int = 512) -> Data:
    """8×8 digits as 0..1; flat or as images."""
    found = load_digits()
    x = torch.tensor(found.data[:num] / scale, dtype=torch.float32)
    return (x.reshape(-1, 1, 8, 8) if images else x), torch.tensor(found.target[:num])


def standardized(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-6)


def wine(*, raw: bool = False) -> Data:
    found = load_wine()
    x = torch.tensor(found.data, dtype=torch.float32)
    return (x if raw else standardized(x)), torch.tensor(found.target)


def pixels(seed: int, num: int = 256, size: int = 28, *, scale: float = 1.0) -> Data:
    """Sparse bright strokes on black, 0..scale, of the statistics of handwritten digits (mean 0.13, std 0.31)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(num, 7, 7)).repeat(size // 7, 1).repeat(size // 7, 2)
    strokes = np.clip(coarse - 0.7, 0, 1)
    strokes[:, :3], strokes[:, -3:], strokes[:, :, :3], strokes[:, :, -3:] = 0, 0, 0, 0
    labels = rng.integers(0, 10, num)
    return torch.tensor(strokes * scale, dtype=torch.float32).reshape(num, -1), torch.tensor(labels)


def tokens(seed: int, num: int = 32, length: int = 24, vocabulary: int = 65) -> Data:
    generator = seeded(seed)
    text = torch.randint(0, vocabulary, (num, length + 1), generator=generator)
    return text[:, :-1], text[:, 1:].contiguous()

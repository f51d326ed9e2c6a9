"""Fillers that set the variance of the weights from fans and gains: Xavier, Kaiming, LeCun and all between."""

import math
import warnings
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from onesigma._errors import ConfigError, FanError
from onesigma._typing import Activation
from onesigma.init.fillers import corrected, fill_
from onesigma.init.gains import calculate_gain
from onesigma.init.writing import Key, Target, Weight, writing
from onesigma.model.fan import Fan, fan_of
from onesigma.numbers.random import Distribution, Normal, Uniform

__all__ = [
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "lecun_uniform_",
    "variance_scaling_",
    "xavier_normal_",
    "xavier_uniform_",
]

Mode: TypeAlias = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]

_MODES: dict[str, Callable[[Fan], float]] = {
    "fan_in": lambda fan: fan.fan_in,
    "fan_out": lambda fan: fan.fan_out,
    "fan_avg": lambda fan: (fan.fan_in + fan.fan_out) / 2,
    "fan_geo_avg": lambda fan: math.sqrt(fan.fan_in * fan.fan_out),
}

_SHAPES: dict[str, Callable[[float], Distribution]] = {
    "uniform": lambda std: Uniform(-math.sqrt(3) * std, math.sqrt(3) * std),
    "normal": lambda std: Normal(0.0, std),
    "truncated_normal": lambda std: corrected(mean=0.0, std=std, lower=-2.0, upper=2.0),
}


def xavier_uniform_(
    tensor: Target, gain: float = 1.0, generator: torch.Generator | None = None, *, key: Key | None = None
) -> Target:
    """Fill with U(−a, a), a = gain·√(6/(fan_in + fan_out)), in place. Also known as Glorot.

    Args:
        tensor: A tensor (out, in, *kernel), or a layer, whose fans are those of its role.
        gain: Factor on the std; see `calculate_gain`.
        generator: Where one 64-bit key is drawn from; torch's default generator if not given.
        key: Seed and name of the stream, instead of a generator.

    Returns:
        What was given.

    Raises:
        ValueError: As torch: fewer than two axes.
        RuntimeError: As torch: no floating dtype, a negative gain or NaN.

    Example:
        >>> w = xavier_uniform_(torch.empty(300, 100), key=(0, "w"))
        >>> w.abs().max().item() <= (6 / 400) ** 0.5
        True

    Reference: Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html
    """
    return _scale_(tensor, "uniform", "fan_avg", gain, generator=generator, key=key)


def xavier_normal_(
    tensor: Target, gain: float = 1.0, generator: torch.Generator | None = None, *, key: Key | None = None
) -> Target:
    """Fill with N(0, std²), std = gain·√(2/(fan_in + fan_out)), in place; the rest as in `xavier_uniform_`.

    Example:
        >>> round(xavier_normal_(torch.empty(300, 100), key=(0, "w")).std().item(), 3), round((2 / 400) ** 0.5, 3)
        (0.071, 0.071)
    """
    return _scale_(tensor, "normal", "fan_avg", gain, generator=generator, key=key)


def kaiming_uniform_(
    tensor: Target,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str | Activation = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    gain: float | None = None,
    key: Key | None = None,
) -> Target:
    """Fill with U(−bound, bound), bound = gain·√(3/fan), in place. Also known as He.

    Args:
        tensor: A tensor (out, in, *kernel), or a layer, whose fans are those of its role.
        a: Negative slope, for "leaky_relu" only.
        mode: "fan_in" keeps the forward signal, "fan_out" the gradient; "fan_avg" and "fan_geo_avg" lie between.
        nonlinearity: The nonlinearity that feeds the layer: a name, a function or a module; see `calculate_gain`.
        generator: As in `xavier_uniform_`.
        gain: The gain itself, instead of a nonlinearity.
        key: As in `xavier_uniform_`.

    Returns:
        What was given. A tensor without elements is left alone with a warning, as in torch.

    Raises:
        ValueError: As torch: fewer than two axes, an unknown mode or nonlinearity.
        RuntimeError: As torch: no floating dtype, a negative gain or NaN.

    Example:
        >>> w = kaiming_uniform_(torch.empty(300, 100), nonlinearity=torch.nn.SiLU(), key=(0, "w"))
        >>> round(w.std().item() * 100**0.5, 1)
        1.7

    Reference: He et al. 2015, https://arxiv.org/abs/1502.01852
    """
    if _is_empty(tensor):
        return tensor
    gain = calculate_gain(nonlinearity, a) if gain is None else gain
    return _scale_(tensor, "uniform", mode, gain, generator=generator, key=key)


def kaiming_normal_(
    tensor: Target,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str | Activation = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    gain: float | None = None,
    key: Key | None = None,
) -> Target:
    """Fill with N(0, std²), std = gain/√fan, in place; the rest as in `kaiming_uniform_`.

    Example:
        >>> layer = torch.nn.ConvTranspose2d(64, 64, 4, stride=2)
        >>> _ = kaiming_normal_(layer, nonlinearity="linear", key=(0, "up"))
        >>> round(layer.weight.std().item() * 256**0.5, 1)
        1.0
    """
    if _is_empty(tensor):
        return tensor
    gain = calculate_gain(nonlinearity, a) if gain is None else gain
    return _scale_(tensor, "normal", mode, gain, generator=generator, key=key)


def lecun_uniform_(
    tensor: Target, generator: torch.Generator | None = None, *, gain: float = 1.0, key: Key | None = None
) -> Target:
    """Fill with U(−b, b), b = gain·√(3/fan_in), in place: variance gain²/fan_in; the rest as in `xavier_uniform_`.

    Example:
        >>> lecun_uniform_(torch.empty(300, 100), key=(0, "w")).abs().max().item() <= 0.03**0.5
        True
    """
    return _scale_(tensor, "uniform", "fan_in", gain, generator=generator, key=key)


def lecun_normal_(
    tensor: Target, generator: torch.Generator | None = None, *, gain: float = 1.0, key: Key | None = None
) -> Target:
    """Fill with N(0, gain²/fan_in), in place, as self-normalizing networks want; the rest as in `xavier_uniform_`.

    Example:
        >>> round(lecun_normal_(torch.empty(300, 100), key=(0, "w")).std().item(), 2)
        0.1

    Reference: LeCun et al. 1998; Klambauer et al. 2017, https://arxiv.org/abs/1706.02515
    """
    return _scale_(tensor, "normal", "fan_in", gain, generator=generator, key=key)


def variance_scaling_(
    tensor: Target,
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: Literal["truncated_normal", "normal", "uniform"] = "truncated_normal",
    generator: torch.Generator | None = None,
    *,
    key: Key | None = None,
) -> Target:
    """Fill with variance scale/fan, in place, as JAX and Keras do.

    Args:
        tensor: A tensor (out, in, *kernel), or a layer, whose fans are those of its role.
        scale: The variance times the fan: a gain squared.
        mode: Which fan.
        distribution: "truncated_normal" is cut at ±2 of its σ, and its std is corrected for that.
        generator: As in `xavier_uniform_`.
        key: As in `xavier_uniform_`.

    Returns:
        What was given.

    Raises:
        ValueError: Fewer than two axes; an unknown mode or distribution; a scale that is not positive.

    Example:
        >>> w = variance_scaling_(torch.empty(300, 400), 2.0, "fan_avg", key=(0, "w"))
        >>> round(w.var().item() * 350, 1)
        2.0
    """
    if not scale > 0:
        raise ConfigError(f"variance_scaling_: scale must be positive, got {scale}.")
    return _scale_(tensor, distribution, mode, math.sqrt(scale), generator=generator, key=key)


def _scale_(
    target: Target, shape: str, mode: str, gain: float, *, generator: torch.Generator | None, key: Key | None
) -> Target:
    """Fill with a distribution of this shape and of std gain/√fan."""
    if shape not in _SHAPES:
        raise ConfigError(f"distribution must be one of {', '.join(_SHAPES)}, got {shape!r}.")
    if mode.lower() not in _MODES:
        raise ConfigError(f"Mode {mode.lower()} not supported, please use one of {list(_MODES)}")
    for weight in writing(target):
        std = gain * math.sqrt(1.0 / _MODES[mode.lower()](_fan(weight)))
        fill_(weight, _SHAPES[shape](std), generator=generator, key=key)
    return target


def _fan(weight: Weight) -> Fan:
    if weight.fan is not None:
        return weight.fan
    if weight.tensor.ndim < 2:
        raise FanError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, "
            f"got shape {tuple(weight.tensor.shape)}; use normal_ or uniform_ with a std of your own."
        )
    # As torch reads a shape: without strides and groups, which only the layer knows.
    num_out, num_in, *kernel = weight.tensor.shape
    return fan_of((num_out, num_in, math.prod(kernel)), layout="out in kernel")


def _is_empty(target: Target) -> bool:
    if isinstance(target, Tensor) and 0 in target.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False

"""Drop-in fillers: the names, arguments and errors of `torch.nn.init`, on streams that no layout can change.

Each filler takes a tensor, or a layer, whose weights are then filled with the fans of its role. `generator=` is used as
in torch, but for one 64-bit key per tensor; `key=(seed, name)` names the stream directly and uses no generator.
"""

import math
import warnings

import torch
from torch import Tensor

from onesigma._errors import ConfigError, OnesigmaWarning
from onesigma.init.writing import Key, Target, Weight, draw_into, stream_key, writing
from onesigma.numbers.random import Distribution, Normal, TruncatedNormal, Uniform

__all__ = ["normal_", "trunc_normal_", "truncated_normal_", "uniform_"]


def uniform_(
    tensor: Target, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None, *, key: Key | None = None
) -> Target:
    """Fill with U[a, b), in place.

    Args:
        tensor: A tensor of any shape, or a layer.
        a: Lower bound.
        b: Upper bound.
        generator: Where one 64-bit key is drawn from; torch's default generator if not given.
        key: Seed and name of the stream, instead of a generator.

    Returns:
        What was given.

    Raises:
        RuntimeError: As torch: a > b, bounds that the dtype does not hold, or no floating dtype.

    Example:
        >>> w = uniform_(torch.empty(300, 200), -1, 1, key=(0, "w"))
        >>> bool(((w >= -1) & (w < 1)).all())
        True
    """
    for weight in writing(tensor):
        fill_(weight, Uniform(a, b), generator=generator, key=key)
    return tensor


def normal_(
    tensor: Target,
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    key: Key | None = None,
) -> Target:
    """Fill with N(mean, std²), in place.

    Args:
        tensor: A tensor of any shape, or a layer. Complex ones get N(mean, std²/2) in both parts, as in torch.
        mean: Mean.
        std: Standard deviation.
        generator: As in `uniform_`.
        key: As in `uniform_`.

    Returns:
        What was given.

    Raises:
        RuntimeError: As torch: a negative std or NaN, or no floating dtype.
        ConfigError: A mean that is not finite.

    Example:
        >>> w = normal_(torch.empty(300, 200), std=0.02, key=(0, "fc.weight"))
        >>> torch.equal(w, normal_(torch.empty(300, 200), std=0.02, key=(0, "module.fc.weight")))
        True
    """
    for weight in writing(tensor):
        fill_(weight, Normal(mean, std), generator=generator, key=key)
    return tensor


def trunc_normal_(
    tensor: Target,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
    *,
    key: Key | None = None,
) -> Target:
    """Fill with N(mean, std²) given that it lies in [a, b], in place. As in torch the bounds are absolute.

    The std of what comes out is smaller than `std`, by 0.8796 for bounds at ±2 std; see `truncated_normal_`, which
    counts bounds in std and corrects this. With std=0.02 the default bounds cut nothing: they lie at 100 std.

    Args:
        tensor: A tensor of any shape, or a layer.
        mean: Mean before the truncation.
        std: Standard deviation before the truncation.
        a: Smallest value.
        b: Largest value.
        generator: As in `uniform_`.
        key: As in `uniform_`.

    Returns:
        What was given.

    Raises:
        ZeroDivisionError: As torch: std is 0.
        RuntimeError: As torch: a > b, or no floating dtype.
        ConfigError: A negative std, or one that is not finite.

    Example:
        >>> trunc_normal_(torch.empty(300, 200), std=1.0, a=-1.0, b=1.0, key=(0, "w")).abs().max().item() <= 1
        True
    """
    if std == 0:
        raise ZeroDivisionError("float division by zero: a truncated normal needs std > 0; use constant_ instead.")
    if mean < a - 2 * std or mean > b + 2 * std:
        message = f"mean {mean} is more than 2 std ({std}) from [{a}, {b}]: all values come from that far tail."
        warnings.warn(message, OnesigmaWarning, stacklevel=2)
    for weight in writing(tensor):
        fill_(weight, TruncatedNormal(mean, std, a, b), generator=generator, key=key)
    return tensor


def truncated_normal_(
    tensor: Target,
    mean: float = 0.0,
    std: float = 1.0,
    lower: float = -2.0,
    upper: float = 2.0,
    generator: torch.Generator | None = None,
    *,
    key: Key | None = None,
) -> Target:
    """Fill with a truncated normal whose own mean and std are `mean` and `std`, in place.

    Args:
        tensor: A tensor of any shape, or a layer.
        mean: Mean after the truncation.
        std: Standard deviation after the truncation.
        lower: Where it is cut, in standard deviations of the normal before the truncation.
        upper: Likewise.
        generator: As in `uniform_`.
        key: As in `uniform_`.

    Returns:
        What was given.

    Raises:
        ConfigError: lower ≥ upper, or a std that is not positive.

    Example:
        >>> w = truncated_normal_(torch.empty(400, 400), std=0.02, key=(0, "w"))
        >>> round(w.std().item(), 4), round(w.abs().max().item() * 0.8796256610342398 / 0.02, 2)
        (0.02, 2.0)
    """
    distribution = corrected(mean=mean, std=std, lower=lower, upper=upper)
    for weight in writing(tensor):
        fill_(weight, distribution, generator=generator, key=key)
    return tensor


def corrected(*, mean: float, std: float, lower: float, upper: float) -> TruncatedNormal:
    """The truncated normal, cut at these numbers of its own σ, whose mean and std come out as given."""
    if not lower < upper or not std > 0:
        raise ConfigError(f"a truncated normal needs lower < upper and std > 0, got [{lower}, {upper}] and std {std}.")
    center, width = _standard_moments(lower, upper)
    sigma = std / width
    middle = mean - sigma * center
    return TruncatedNormal(middle, sigma, middle + lower * sigma, middle + upper * sigma)


def _standard_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and std of a standard normal cut at these bounds."""

    def density(z: float) -> float:
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def edge(z: float) -> float:
        return 0.0 if math.isinf(z) else z * density(z)

    # From the side where the tails are small numbers, not differences of ones.
    left, right = (-upper, -lower) if lower > 0 else (lower, upper)
    mass = (math.erfc(-right / math.sqrt(2)) - math.erfc(-left / math.sqrt(2))) / 2
    mean = (density(lower) - density(upper)) / mass
    return mean, math.sqrt(1 + (edge(lower) - edge(upper)) / mass - mean * mean)


def fill_(weight: Weight, distribution: Distribution, *, generator: torch.Generator | None, key: Key | None) -> None:
    """Draw one weight, once torch has accepted the dtype and the parameters."""
    _judge(weight.tensor, distribution)
    if weight.tensor.is_complex() and isinstance(distribution, Normal):
        distribution = Normal(distribution.mean, distribution.std / math.sqrt(2))
    draw_into(weight, distribution, key=stream_key(weight, generator=generator, key=key))


def _judge(tensor: Tensor, distribution: Distribution) -> None:
    """Raise what torch raises for this dtype and these parameters, by asking it for one number."""
    probe, generator = torch.empty(1, dtype=tensor.dtype), torch.Generator()
    match distribution:
        case Uniform(low, high):
            probe.uniform_(low, high, generator=generator)
        case Normal(mean, std):
            probe.normal_(mean, std, generator=generator)
        case TruncatedNormal(_, _, low, high):
            # There is no order among complex numbers, nor a number between swapped bounds.
            torch.any(probe.normal_(generator=generator) < low)
            if low > high:
                probe.uniform_(low, high, generator=generator)

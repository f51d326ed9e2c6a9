"""`calculate_gain` as in torch, and exact for everything that torch's table lacks."""

from torch.nn import init as torch_init

from onesigma._typing import Activation
from onesigma.numbers.gain import gain_of

__all__ = ["calculate_gain"]

_TORCH_NAMES = frozenset(
    ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
    + [f"conv{transposed}{axes}d" for transposed in ("", "_transpose") for axes in (1, 2, 3)]
)


def calculate_gain(nonlinearity: str | Activation, param: float | None = None) -> float:
    """The gain of a nonlinearity: torch's own number for the names torch knows, else the exact 1/√E[f(z)²].

    torch's table follows three conventions (tanh 5/3 is an empirical constant, SELU 3/4 a choice for gradients, sigmoid
    1 does nothing); `onesigma.gain` is exact for these too. A function or module is always exact.

    Args:
        nonlinearity: A name, a function or a module.
        param: Negative slope, for "leaky_relu".

    Raises:
        ValueError: As torch: the nonlinearity is unknown, or the slope is no number.

    Example:
        >>> import torch
        >>> calculate_gain("tanh"), round(calculate_gain(torch.tanh), 6), round(calculate_gain("gelu"), 6)
        (1.6666666666666667, 1.592537, 1.53353)
    """
    if isinstance(nonlinearity, str) and nonlinearity in _TORCH_NAMES:
        return torch_init.calculate_gain(nonlinearity, param)  # type: ignore[arg-type]
    return gain_of(nonlinearity)

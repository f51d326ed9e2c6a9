"""Gains: the factor by which the weights after an activation keep signals at unit scale."""

import math
from typing import Literal, TypeAlias

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.activation_moments import activation_moments, positive
from onesigma.numbers.activations import canonical_name, torch_name
from onesigma.numbers.expectation import grid_of
from onesigma.numbers.pointwise import describe, pointwise

__all__ = ["Convention", "gain", "gain_of", "torch_gain"]

Convention: TypeAlias = Literal["second_moment", "std", "torch"]


def gain(f: Activation | str, *, convention: Convention = "second_moment", dropout: float = 0.0) -> float:
    """1/√E[f(z)²], z ~ N(0, 1): the weight std of the layer that f feeds is gain/√fan_in.

    Args:
        f: A name, a function or a module, as in `activation_moments`.
        convention: "second_moment"; "std" for 1/√Var f, right where the mean is taken out of the signal; "torch" for
            the table of `torch.nn.init.calculate_gain`.
        dropout: Probability of a Dropout between f and the layer: it divides E[f²] by 1 − p.

    Raises:
        GainError: As `activation_moments`; or torch's table has no such name; or dropout is not in [0, 1).

    Example:
        >>> import torch
        >>> round(gain("relu"), 6), round(gain(torch.tanh), 6), gain("tanh", convention="torch")
        (1.414214, 1.592537, 1.6666666666666667)
    """
    if not 0 <= dropout < 1:
        raise GainError(f"dropout: a probability in [0, 1) is needed, got {dropout}.")
    keep = math.sqrt(1 - dropout)
    if convention == "torch":
        return keep * torch_gain(f)
    if convention == "std":
        return keep * activation_moments(f).std_gain
    if convention != "second_moment":
        raise GainError(f"convention: 'second_moment', 'std' or 'torch', got {convention!r}.")
    return keep * gain_of(f)


def gain_of(feeding: Activation | str | None) -> float:
    """The gain of a layer from what feeds it: a name, a function, a module, or None for a raw, standardized input.

    Example:
        >>> import torch
        >>> gain_of(None), round(gain_of(torch.relu), 6), round(gain_of(torch.nn.ReLU()), 6)
        (1.0, 1.414214, 1.414214)
    """
    if feeding is None:
        return 1.0
    if isinstance(feeding, str) or torch_name(feeding):
        return activation_moments(feeding).gain
    f = pointwise(feeding)
    grid = grid_of(f, f)
    return 1 / math.sqrt(positive(grid.second_moment(grid.values), f.name))


def torch_gain(f: Activation | str) -> float:
    """What `torch.nn.init.calculate_gain` says, for the seven names that it has.

    Raises:
        GainError: The table has no such activation.

    Example:
        >>> torch_gain("tanh"), torch_gain("selu"), torch_gain("leaky_relu(0.2)") == (2 / 1.04) ** 0.5
        (1.6666666666666667, 0.75, True)
    """
    name = f if isinstance(f, str) else torch_name(f)
    known, arguments = canonical_name(name) if name is not None else (describe(f), ())
    if known == "leaky_relu":
        (slope,) = arguments or (0.01,)
        return math.sqrt(2 / (1 + slope**2))
    table = {"identity": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    if known not in table:
        raise GainError(
            f"torch's table has no gain for {known}, only for linear, sigmoid, tanh, relu, leaky_relu and selu; "
            "leave convention='torch' out for the exact gain."
        )
    return table[known]

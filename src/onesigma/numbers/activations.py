"""The activations that have a name, and the names that torch, Hugging Face and papers give them."""

import difflib
import math
import re
from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F

from onesigma._errors import GainError
from onesigma._typing import Activation

__all__ = ["ACTIVATIONS", "GATED", "activation", "canonical_name", "compose", "known_name", "torch_name"]

Tensor = torch.Tensor


ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "identity": lambda x: x,
        "relu": F.relu,
        "relu6": F.relu6,
        "leaky_relu": lambda x, negative_slope=0.01: F.leaky_relu(x, negative_slope),
        "prelu": lambda x, weight=0.25: F.leaky_relu(x, weight),
        "rrelu": lambda x, lower=1 / 8, upper=1 / 3: F.leaky_relu(x, (lower + upper) / 2),
        "relu_squared": lambda x: F.relu(x) ** 2,
        "threshold": lambda x, threshold=0.0, value=0.0: F.threshold(x, threshold, value),
        "elu": lambda x, alpha=1.0: F.elu(x, alpha),
        "celu": lambda x, alpha=1.0: F.celu(x, alpha),
        "selu": F.selu,
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
        "silu": lambda x, beta=1.0: x * torch.sigmoid(beta * x),
        "mish": F.mish,
        "hardswish": F.hardswish,
        "tanh": torch.tanh,
        "hardtanh": lambda x, min_val=-1.0, max_val=1.0: F.hardtanh(x, min_val, max_val),
        "tanhshrink": F.tanhshrink,
        "softshrink": lambda x, lambd=0.5: F.softshrink(x, lambd),
        "hardshrink": lambda x, lambd=0.5: F.hardshrink(x, lambd),
        "sigmoid": torch.sigmoid,
        "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # the slope of torch's own is 1/6 in float32 only
        "logsigmoid": F.logsigmoid,
        "softplus": lambda x, beta=1.0: F.softplus(x, beta),
        "softsign": F.softsign,
        "erf": torch.erf,
        "arctan": torch.arctan,
        "arcsinh": torch.arcsinh,
        "isru": lambda x, alpha=1.0: x * torch.rsqrt(1 + alpha * x * x),
        "sin": torch.sin,
        "cos": torch.cos,
        "snake": lambda x, alpha=1.0: x + torch.sin(alpha * x) ** 2 / alpha,
        "gaussian": lambda x: torch.exp(-(x**2)),
        "laplace": lambda x, mean=0.707107, std=0.282095: (1 + torch.erf((x - mean) / (std * math.sqrt(2)))) / 2,
        "exp": torch.exp,
        "abs": torch.abs,
        "square": torch.square,
        "lisht": lambda x: x * torch.tanh(x),
    }
)
"""Name → function of a tensor and, for some, of numbers with defaults: `leaky_relu(x, negative_slope=0.01)`."""

GATED: Mapping[str, str] = MappingProxyType(
    {
        "glu": "sigmoid",
        "swiglu": "silu",
        "geglu": "gelu",
        "geglu_tanh": "gelu_tanh",
        "reglu": "relu",
        "bilinear": "identity",
    }
)
"""Gated pair f(gate) · value → the name of its f."""

_ALIASES = {
    "linear": "identity",
    **{f"conv{transposed}{n}d": "identity" for transposed in ("", "transpose") for n in (1, 2, 3)},
    "swish": "silu",
    "leaky": "leaky_relu",
    "lrelu": "leaky_relu",
    "relu2": "relu_squared",
    "squaredrelu": "relu_squared",
    "sqrelu": "relu_squared",
    **dict.fromkeys(("gelunew", "gelufast", "gelupytorchtanh", "geluaccurate", "newgelu"), "gelu_tanh"),
    **dict.fromkeys(("gelupython", "geluerf"), "gelu"),
    "hardsilu": "hardswish",
    "hswish": "hardswish",
    "hsigmoid": "hardsigmoid",
    "atan": "arctan",
    "asinh": "arcsinh",
    "sine": "sin",
}
_CALL = re.compile(r"\s*(?P<name>[\w\s.²-]+?)\s*(?:\((?P<arguments>[^()]*)\))?\s*")


def _key(name: str) -> str:
    """What is left of a name when case and separators do not count: "Leaky-ReLU" → "leakyrelu"."""
    return re.sub(r"[\s_.-]", "", name.lower().replace("²", "2").removeprefix("nn."))


_BY_KEY = {_key(name): name for name in (*ACTIVATIONS, *GATED)} | _ALIASES


def known_name(name: str) -> str | None:
    """The canonical spelling of a name, or None: "LeakyReLU" → "leaky_relu", "swish" → "silu"."""
    return _BY_KEY.get(_key(name))


def canonical_name(name: str) -> tuple[str, tuple[float, ...]]:
    """Split "LeakyReLU(0.2)" into ("leaky_relu", (0.2,)).

    Raises:
        GainError: No activation of this name; the message lists close ones.
    """
    match = _CALL.fullmatch(name)
    known = known_name(match["name"]) if match else None
    if match is None or known is None:
        close = difflib.get_close_matches(_key(name), _BY_KEY, n=3, cutoff=0.6)
        hint = (
            f"did you mean {' or '.join(repr(_BY_KEY[key]) for key in close)}?" if close else "give a function instead."
        )
        raise GainError(f"no activation is called {name!r}; {hint}")
    try:
        arguments = tuple(float(part) for part in (match["arguments"] or "").split(",") if part.strip())
    except ValueError as error:
        raise GainError(
            f"{name!r}: the arguments of a named activation are plain numbers, as in 'elu(0.5)'."
        ) from error
    return known, arguments


def activation(name: str) -> Activation:
    """The function of this name, in any spelling: "gelu", "GELU", "swish", "leaky_relu(0.2)".

    Raises:
        GainError: No such name, or not so many arguments.

    Example:
        >>> activation("Leaky-ReLU(0.5)")(torch.tensor([-2.0, 2.0]))
        tensor([-1.,  2.])
    """
    known, arguments = canonical_name(name)
    if known in GATED:
        raise GainError(f"{name!r} is a gated pair, a function of two tensors; its activation is {GATED[known]!r}.")
    function = ACTIVATIONS[known]
    if not arguments:
        return function
    try:
        function(torch.zeros(1), *arguments)
    except (TypeError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise GainError(f"{name!r}: these arguments do not fit {known}: {error}") from error
    return lambda x: function(x, *arguments)


def compose(*functions: Activation | str) -> Activation:
    """The composition of functions, the first one applied first.

    Example:
        >>> half_square = compose("relu", torch.square, lambda x: x / 2)
        >>> half_square(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    steps = [activation(function) if isinstance(function, str) else function for function in functions]

    def composed(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return composed


_BY_FUNCTION = {
    function: name
    for name in ACTIVATIONS
    if name not in ("prelu", "threshold")  # torch's take more than one argument
    for home in (torch, F, torch.Tensor, torch.special)
    for spelling in (name, f"{name}_")
    if (function := getattr(home, spelling, None)) is not None
} | {F.glu: "glu", torch.nn.GLU: "glu"}


def torch_name(f: object) -> str | None:
    """The name of one of torch's own functions: `torch.tanh`, `F.relu_`, `torch.Tensor.sigmoid`; else None.

    A `nn.GLU` counts as one: its two halves are a gated pair, which no function of a single number can stand for.
    """
    if isinstance(f, torch.nn.GLU):
        return "glu"
    return _BY_FUNCTION.get(f) if isinstance(f, Hashable) else None

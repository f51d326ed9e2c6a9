"""What a model computes beside its signals: random numbers, and masks that say where a signal is large."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.special import erf

from onesigma.model.capture import Site
from onesigma.model.graph import Call
from onesigma.model.prediction.algebra import plus
from onesigma.model.prediction.inputs import input_signal
from onesigma.model.prediction.laws import Function
from onesigma.model.prediction.signal import Signal
from onesigma.model.prediction.unpredictable import Unpredictable
from onesigma.model.roles import Operands, kind_of, pointwise

__all__ = ["READS_MASKS", "bernoulli", "mask_of", "random_numbers", "site_of"]

_COMPARED = {"gt": ">", "greater": ">", "ge": ">=", "greater_equal": ">=", "lt": "<", "less": "<", "le": "<="}
_COMPARED["less_equal"] = "<="
_COMPARISONS: Mapping[str, Callable[[Any, Any], torch.Tensor]] = {
    ">": torch.gt,
    ">=": torch.ge,
    "<": torch.lt,
    "<=": torch.le,
}
_OTHER_LAWS = frozenset({"normal", "uniform", "exponential", "cauchy", "geometric", "log_normal"})
# Calls to which a mask that depends on the data is 0 or 1; to all others it is an index.
READS_MASKS = frozenset({"where", "masked_fill", "mul", "add", "sub", "rsub", "div", "to", "float", "type", "type_as"})


def random_numbers(name: str, output: torch.Tensor) -> Signal | None:
    """The signal of numbers that a model has just drawn: of normal or uniform ones by the law, whatever came out."""
    if not output.is_floating_point():
        return None
    if name in ("randn", "randn_like"):
        return _noise(output)
    if name in ("rand", "rand_like"):
        return _noise(output).through(lambda x: (1 + erf(x / math.sqrt(2))) / 2)
    if name.rstrip("_") in _OTHER_LAWS:
        raise Unpredictable(f"{name}: random numbers of a law that is not followed")
    return None


def bernoulli(arguments: Mapping[str, Any], output: torch.Tensor) -> Signal:
    """1 with probability p, else 0; p is a number, or a tensor that holds only one."""
    p: Any = arguments.get("p", arguments.get("1", 0.5))
    given = arguments["input"]
    if isinstance(given, torch.Tensor) and given is not output:
        if not given.is_floating_point() or not bool((given == given.reshape(-1)[0]).all()):
            raise Unpredictable("bernoulli of several probabilities")
        p = float(given.reshape(-1)[0])
    if not isinstance(p, (int, float)):
        raise Unpredictable("bernoulli of several probabilities")
    noise = _noise(output)
    if not 0 < p < 1:
        return noise.scaled(0.0, shift=float(p >= 1))
    edge = math.sqrt(2) * float(torch.erfinv(torch.tensor(2.0 * p - 1, dtype=torch.float64)))
    return noise.through(lambda x: (x < edge).to(x.dtype))


def _noise(output: torch.Tensor) -> Signal:
    """Independent standard normals of this shape."""
    num_samples = output.shape[0] if output.dim() else 1
    return input_signal(output.to("meta"), has_values=False, num_samples=num_samples)


def site_of(function: Callable[..., Any], operands: Operands) -> Site:
    """What ran beside the graph, as if it were a call of it."""
    op = operands.op
    call = Call(index=-1, op=op.name, kind=kind_of(operands), function=pointwise(op, operands.arguments))
    return Site(
        call=call, arguments=operands.arguments, tensors=operands.tensors, module=nn.Identity(), function=function
    )


def mask_of(op: str, arguments: Mapping[str, Any]) -> Signal:
    """Comparisons, and what is made of them: 1 where they hold, else 0."""
    first, second = arguments.get("input"), arguments.get("other", arguments.get("1"))
    if op in ("invert", "logical_not", "bitwise_not") and isinstance(first, Signal):
        return first.through(lambda x: 1 - x)
    if op in ("bool", "clone", "detach", "contiguous") and isinstance(first, Signal):
        return first
    return _compared(op, first, second)


def _compared(op: str, first: Any, second: Any) -> Signal:
    """Where a signal is above or below a number or another function of what it is made of: 1, else 0."""
    compare = _COMPARISONS.get(_COMPARED.get(op, ""))
    if compare is None:
        raise Unpredictable(f"{op} of a signal")
    if isinstance(first, Signal) and isinstance(second, Signal):
        difference = plus(first, second, factor=-1.0)
        return difference.through(lambda x: compare(x, 0.0).to(x.dtype))
    signal, number = (first, second) if isinstance(first, Signal) else (second, first)
    if isinstance(number, torch.Tensor) and number.numel() == 1:
        number = float(number)
    if not isinstance(number, (int, float)):
        raise Unpredictable(f"{op} of a signal with several numbers")
    swapped = not isinstance(first, Signal)
    return signal.through(_mask(compare, float(number), swapped=swapped))


def _mask(compare: Callable[[Any, Any], torch.Tensor], number: float, *, swapped: bool) -> Function:
    def mask(x: torch.Tensor) -> torch.Tensor:
        edge = torch.full((), number)
        return (compare(edge, x) if swapped else compare(x, edge)).to(x.dtype)

    return mask

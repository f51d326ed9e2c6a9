"""Activations, sums, products, constants, dropout."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from onesigma.model.prediction.algebra import plus, times
from onesigma.model.prediction.kernel import Kernel, blended
from onesigma.model.prediction.law import Law
from onesigma.model.prediction.laws import Function
from onesigma.model.prediction.signal import Known, Signal, fresh_key
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["POINTWISE", "activation"]

_OF_POSITIVE = frozenset({"rsqrt", "sqrt", "log", "log2", "log10", "reciprocal"})


def activation(step: Step) -> Signal:
    """f(x) for a pointwise f."""
    if step.call.function is None:
        raise Unpredictable(f"{step.call.op} is not pointwise here")
    if step.call.op == "prelu":
        return _prelu(step)
    x, function = step.signal(), step.call.function
    exponent = step.arguments.get("exponent", 2)
    if step.call.op in _OF_POSITIVE or (step.call.op == "pow" and isinstance(exponent, float) and exponent % 1):
        plain = x.plain
        if float(plain.mean.min()) > 0:
            return _of_positive(plain, function)
    return x.through(function)


def _of_positive(x: Signal, function: Function) -> Signal:
    """f(x) for a positive x such as a mean of squares: log-normal, so that no tail of it is negative."""
    noise = (x.var / x.mean.square()).log1p()
    logarithm = replace(x, base_mean=x.mean.log() - noise / 2, base_var=noise, key=fresh_key(), terms={}, raw=None)
    return logarithm.through(torch.exp).through(function)


def _prelu(step: Step) -> Signal:
    slope, x = step.value("weight"), step.signal()
    if slope.numel() == 1:
        constant = float(slope)
        return x.through(lambda v: torch.where(v > 0, v, v * constant))
    shape = [1] * x.base_mean.dim()
    shape[1 if x.base_mean.dim() > 1 else 0] = -1
    # A slope for each channel: the law would need its own shape later on, so only the moments stay.
    made = x.through(lambda v: torch.where(v > 0, v, v * slope.reshape(shape)))
    average = float(slope.mean())
    kernel = x.through(lambda v: torch.where(v > 0, v, v * average)).plain.kernel
    return Signal(base_mean=made.mean, base_var=made.var, sites=x.sites, kernel=kernel)


def _arithmetic(step: Step) -> Signal:
    first, second = _operand(step, "input"), _operand(step, "other")
    op = {"rsub": "sub", "rdiv": "div"}.get(step.call.op, step.call.op)
    if step.call.op.startswith("r"):
        first, second = second, first
    alpha = float(step.arguments.get("alpha", 1))
    if step.call.op == "rsub" and alpha != 1:
        raise Unpredictable("rsub with alpha")
    if isinstance(first, Signal) and isinstance(second, Signal):
        if op in ("add", "sub"):
            return plus(first, second, factor=alpha if op == "add" else -alpha)
        return times(first, second if op == "mul" else second.through(torch.reciprocal))
    if isinstance(second, Signal):
        return _constant_first(first, second, op=op, alpha=alpha)  # type: ignore[arg-type]
    assert isinstance(first, Signal)
    return _with_constant(first, second, op=op, alpha=alpha)


def _operand(step: Step, name: str) -> Signal | torch.Tensor | float:
    found = step.known.get(name)
    if isinstance(found, Signal):
        return found
    if isinstance(found, Known):
        value = step.value(name)
        return float(value) if value.numel() == 1 else value
    number: Any = step.arguments.get(name)
    if not isinstance(number, (int, float)):
        raise Unpredictable(f"{step.call.op}: argument {name!r} is {type(number).__name__}")
    if step.arguments.get("rounding_mode") is not None:
        raise Unpredictable(f"{step.call.op} with a rounding mode")
    return float(number)


def _constant_first(constant: torch.Tensor | float, x: Signal, *, op: str, alpha: float) -> Signal:
    if op in ("add", "mul"):
        return _with_constant(x.scaled(alpha) if alpha != 1 else x, constant, op=op, alpha=1.0)
    if op == "sub":
        return _with_constant(x.scaled(-alpha), constant, op="add", alpha=1.0)
    return _with_constant(x.through(torch.reciprocal), constant, op="mul", alpha=1.0)


def _with_constant(x: Signal, constant: torch.Tensor | float, *, op: str, alpha: float) -> Signal:
    if isinstance(constant, float):
        if op in ("add", "sub"):
            return x.scaled(1.0, shift=alpha * constant * (1 if op == "add" else -1))
        if op == "div" and constant == 0:
            raise Unpredictable("a division by zero")
        return x.scaled(constant if op == "mul" else 1 / constant)
    if op in ("add", "sub"):
        shift = alpha * constant * (1 if op == "add" else -1)
        return _elementwise(x.plain, factor=torch.ones(()), shift=shift)
    return _elementwise(x.plain, factor=constant if op == "mul" else 1 / constant, shift=torch.zeros(()))


def _elementwise(x: Signal, *, factor: torch.Tensor, shift: torch.Tensor) -> Signal:
    """x·factor + shift with tensors of numbers, broadcast."""
    mean = x.base_mean * factor + shift
    shape = mean.shape
    var = (x.base_var * factor.square()).expand(shape)
    law_from = x.law_from if bool((factor >= 0).all()) else None
    if bool((factor <= 0).all()):
        law_from = partial(_opposite, x)
    made = replace(x.fresh(mean, var, sites=x.sites.expand(shape)), law_from=law_from)
    if bool((factor == 1).all()):
        leveled = x.leveled and not bool(shift.any())
        return replace(made, terms=x.sources, leveled=leveled, key=x.key if not bool(shift.any()) else made.key)
    return replace(made, kernel=_turned(x, factor))


def _opposite(x: Signal) -> Law | None:
    """The law of −x."""
    return None if x.law is None else x.law.opposite


def _turned(x: Signal, factor: torch.Tensor) -> Kernel:
    """After factors that differ from position to position, as of rotary embeddings: signs make positions differ."""
    count, kernel = x.kernel.num_positions, x.kernel
    rows = factor.squeeze()
    if kernel.by_distance or rows.dim() != 2 or rows.shape[0] != count or x.shape[-2] != count or count < 2:
        return kernel
    rows = torch.nn.functional.normalize(rows, dim=-1)
    values = (kernel.values * (rows @ rows.T)).fill_diagonal_(1.0)
    return Kernel(kernel.grid, values)


def _negative(step: Step) -> Signal:
    return step.signal().scaled(-1.0)


def _addcmul(step: Step) -> Signal:
    raise Unpredictable(f"{step.call.op} has no rule yet")


def _lerp(step: Step) -> Signal:
    """x + w·(y − x)."""
    weight = step.arguments.get("weight")
    first, second = step.signal("input"), step.signal("end")
    if not isinstance(weight, (int, float)):
        raise Unpredictable("lerp with a weight that is a tensor")
    return plus(first.scaled(1 - float(weight)), second, factor=float(weight))


def _dropout(step: Step) -> Signal:
    """x·mask/(1 − p): the mean stays, E[x²] becomes E[x²]/(1 − p), so that a mean turns into noise."""
    x, p = step.signal(), float(step.arguments.get("p", 0.5))
    active = step.arguments.get("training", True) if "training" in step.arguments else step.call.training
    if not active or p == 0:
        return x
    if p >= 1:
        return x.scaled(0.0)
    if "alpha" in step.call.op:
        raise Unpredictable(f"{step.call.op} in training has no rule yet")
    plain = x.plain
    var = (plain.var + p * plain.mean.square()) / (1 - p)
    made = plain.fresh(plain.mean, var)
    if step.call.op != "dropout":  # of whole channels: positions of a channel stay together
        return made
    kept = float(plain.var.mean()) / max(float(var.mean()), 1e-30)
    kernel = plain.kernel
    return replace(made, kernel=_with_noise(kernel, kept))


def _with_noise(kernel: Kernel, kept: float) -> Kernel:
    noise = Kernel.independent(*kernel.grid)
    if noise.values.shape != kernel.values.shape:
        noise = noise.dense()
    return blended([(kernel, kept), (noise, 1 - kept)])


def _glu(step: Step) -> Signal:
    """a·sigmoid(b) for the halves a, b."""
    x, dim = step.signal().plain, int(step.arguments.get("dim", -1))
    halves = [tensor.chunk(2, dim) for tensor in (x.base_mean, x.base_var, x.sites)]
    value, gate = (
        Signal(base_mean=halves[0][k], base_var=halves[1][k], sites=halves[2][k], kernel=x.kernel) for k in (0, 1)
    )
    return times(value, gate.through(torch.sigmoid))


POINTWISE: Mapping[str, Rule] = {
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "rdiv"), _arithmetic),
    "neg": _negative,
    "lerp": _lerp,
    "addcmul": _addcmul,
    "glu": _glu,
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"),
        _dropout,
    ),
}

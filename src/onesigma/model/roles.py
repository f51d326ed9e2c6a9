"""What a call does with its arguments: its kind, the roles of its parameters, their fans."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from onesigma.model.batches import tensors_in
from onesigma.model.fan import Fan, fan_of
from onesigma.model.ops import Op, bound_arguments

__all__ = ["Operands", "Origin", "attributes_of", "fan_of_call", "kind_of", "parameter_roles", "pointwise"]

_NO_FAN = Fan(0, 0)
_LOOKUPS = frozenset({"__getitem__", "index_select", "gather"})
_ADDITIONS = frozenset({"add", "sub", "rsub", "lerp"})
_COMPARISONS = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "greater", "greater_equal", "less", "less_equal", "not_equal", "sign", "sgn"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a tensor comes from.

    Attributes:
        call: Index of the call that made it, negative for an input of the model; None if no data went into it.
        names: Canonical names of the parameters and buffers it was computed from, where no data went into it.
        derived: It was computed from them, and is neither one of them nor a view of one.
        discrete: It is made of integers or booleans alone, as a mask is: it says where, not how much.
        compared: It says where a signal is larger than another, so that selecting by it is a nonlinearity.
    """

    call: int | None = None
    names: tuple[str, ...] = ()
    derived: bool = False
    discrete: bool = False
    compared: bool = False

    @property
    def is_constant(self) -> bool:
        """The model made it of nothing, before our eyes."""
        return self.call is None and not self.names

    @property
    def is_signal(self) -> bool:
        """It carries values of the data."""
        return self.call is not None and not self.discrete


@dataclass(frozen=True, slots=True)
class Operands:
    """The arguments of one call.

    Attributes:
        op: What is called.
        arguments: By name, as the user passed them.
        tensors: The tensors among them; those in a list as "name.0", "name.1".
        origins: Where these come from; without those that the model made of nothing, such as zeros.
    """

    op: Op
    arguments: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    origins: Mapping[str, Origin]

    @staticmethod
    def of(
        op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], origins: Mapping[torch.Tensor, Origin]
    ) -> "Operands":
        """Bind the arguments by name and look up their origins."""
        arguments = bound_arguments(op, args, kwargs)
        tensors = {}
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            elif isinstance(value, (tuple, list)):
                tensors |= {f"{name}.{i}": tensor for i, tensor in enumerate(tensors_in(value))}
        found = {name: origins.get(tensor) for name, tensor in tensors.items()}
        known = {name: origin for name, origin in found.items() if origin is not None and not origin.is_constant}
        return Operands(op, arguments, tensors, known)

    @property
    def signals(self) -> tuple[Origin, ...]:
        """Origins of what carries values of the data."""
        return tuple(origin for origin in self.origins.values() if origin.is_signal)

    @property
    def compared(self) -> bool:
        """An argument says where signals compare, or this call makes it so."""
        compares = self.op.name in _COMPARISONS and bool(self.signals)
        return compares or any(origin.compared for origin in self.origins.values())

    @property
    def calls(self) -> tuple[int, ...]:
        """Which calls or inputs of the model the tensors came from: signals, then masks and indices, as they stand."""
        in_order = sorted(self.origins.values(), key=lambda origin: origin.discrete)
        return tuple(origin.call for origin in in_order if origin.call is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters and buffers behind the arguments."""
        return tuple(dict.fromkeys(name for origin in self.origins.values() for name in origin.names))


def kind_of(operands: Operands, *, after_attention: bool = False) -> str:
    """The kind of a call, given where its tensors come from."""
    op, origins = operands.op, operands.origins
    match op.kind:
        case "matmul":
            is_linear = any(origin.names for name, origin in origins.items() if name != "bias")
            return "linear" if is_linear else "attention" if len(operands.signals) > 1 else "scale"
        case "arithmetic" if len(operands.signals) > 1:
            return "join" if op.name in _ADDITIONS else "product"
        case "arithmetic" if operands.compared and operands.signals:
            return "activation"
        case "extreme":
            return "reduce" if len(operands.signals) > 1 else "activation"
        case "selection" if operands.compared and operands.signals:
            return "activation"
        case "selection":
            return "concat" if len(operands.signals) > 1 else "shape"
        case "arithmetic":
            divides_by_signal = op.name == "rdiv" or (op.name == "div" and "input" not in origins)
            return "unknown" if divides_by_signal else "scale"
        case "activation" if "softmax" in op.name and after_attention:
            return "attention"
        case "shape" if op.name in _LOOKUPS and "input" in origins and origins["input"].names and operands.calls:
            return "embedding"
    return op.kind


def parameter_roles(operands: Operands, kind: str) -> dict[str, str]:
    """Role → argument, for every argument that is a parameter or a buffer, or was computed from them alone."""
    op, found = operands.op, [name for name, origin in operands.origins.items() if origin.names]
    if op.kind == "recurrent" and not op.name.endswith("cell"):
        return {operands.origins[name].names[0].rpartition(".")[2]: name for name in found}
    if op.kind == "arithmetic":
        role = "bias" if op.name in _ADDITIONS else "weight"
        return {role if name in ("input", "other") else name: name for name in found}
    if op.kind == "matmul":
        return {name if name == "bias" else "weight": name for name in found}
    if kind == "embedding":
        return {"weight" if name == "input" else name: name for name in found}
    return {name: name for name in found}


def attributes_of(operands: Operands) -> dict[str, float | int | str | bool]:
    """The numbers and words among the arguments; sizes as "3x3"."""
    found = {name: _plain(value) for name, value in operands.arguments.items() if name not in ("training", "inplace")}
    kept = {name: value for name, value in found.items() if value is not None}
    if operands.op.name in ("batch_norm", "instance_norm") and operands.tensors["input"].dim() > 1:
        shape = operands.tensors["input"].shape
        rows = shape[0] if operands.op.name == "batch_norm" else 1
        kept["values_per_channel"] = rows * math.prod(shape[2:])
    return kept


def _plain(value: Any) -> float | int | str | bool | None:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)) and value and all(isinstance(item, int) for item in value):
        return "x".join(map(str, value))
    return None


def fan_of_call(operands: Operands, kind: str, *, weight: str | None) -> Fan:
    """fan_in and fan_out of the weight in argument `weight`, from what the call really does with it."""
    if weight is None or kind not in ("linear", "embedding", "recurrent") or not operands.tensors[weight].dim():
        return _NO_FAN
    op, shape = operands.op, tuple(operands.tensors[weight].shape)
    if kind == "embedding":
        return Fan(1, math.prod(shape[1:]))
    if op.kind == "matmul":
        return _fan_of_product(operands, weight=weight)
    if op.name.startswith("conv"):
        return _fan_of_conv(operands, shape)
    if op.name == "bilinear":
        return Fan(shape[1] * shape[2], 2 * math.prod(shape) / (shape[1] + shape[2]))
    if kind == "recurrent":
        return fan_of(shape, blocks={"lstm": 4, "gru": 3}.get(op.name.split("_")[0], 1))
    return fan_of(shape) if len(shape) == 2 else Fan(shape[-1], 1)


def _fan_of_conv(operands: Operands, shape: tuple[int, ...]) -> Fan:
    transposed = "transpose" in operands.op.name
    stride = operands.arguments.get("stride", 1)
    if isinstance(stride, (tuple, list)):
        stride = tuple(stride) * (1 if len(stride) > 1 else len(shape) - 2)
    return fan_of(
        shape,
        layout="in out ..." if transposed else "out in ...",
        groups=operands.arguments.get("groups", 1),
        stride=stride,
        transposed=transposed,
    )


def _fan_of_product(operands: Operands, *, weight: str) -> Fan:
    shape = tuple(operands.tensors[weight].shape)
    if operands.op.name == "einsum":
        return _fan_of_einsum(operands, weight=weight)
    if len(shape) == 1 or operands.op.name == "tensordot":
        return Fan(shape[0], math.prod(shape[1:]))
    return Fan(shape[-2], shape[-1]) if weight == "other" else Fan(shape[-1], shape[-2])


def _fan_of_einsum(operands: Operands, *, weight: str) -> Fan:
    """Summed axes of the weight count for fan_in; of the others those that no other operand has, for fan_out."""
    equation = str(operands.arguments["equation"]).replace(" ", "").replace("...", "")
    if "->" not in equation:
        return _NO_FAN
    read, written = equation.split("->")
    position, axes = list(operands.tensors).index(weight), read.split(",")
    others = set("".join(axes[:position] + axes[position + 1 :]))
    # From the right, since an ellipsis stands for the first axes.
    sizes = dict(zip(axes[position][::-1], operands.tensors[weight].shape[::-1], strict=False))
    fan_in = math.prod(size for axis, size in sizes.items() if axis not in written)
    return Fan(fan_in, math.prod(size for axis, size in sizes.items() if axis in written and axis not in others))


def pointwise(op: Op, arguments: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The activation as a function of one tensor, its constants bound; None where it is not pointwise."""
    if op.kind == "extreme":
        return _extreme(op, arguments)
    if op.kind != "activation" or "softm" in op.name:
        return None
    if op.name == "prelu":
        slope = arguments["weight"]
        return lambda x: torch.where(x > 0, x, x * slope.detach().mean().to(x))
    constants = {name: _number(value) for name, value in arguments.items() if name in op.arguments[1:]}
    constants.pop("inplace", None)
    if any(isinstance(value, torch.Tensor) for value in constants.values()):
        return None
    if op.name == "rrelu":
        constants = {**constants, "training": False}
    function: Callable[..., torch.Tensor] = getattr(F, op.name, None) or getattr(torch, op.name)
    return (lambda x: function(x, **constants)) if constants else function


def _extreme(op: Op, arguments: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """max(x, c) of a signal and a number, whichever stands first; None for two signals."""
    numbers = [value for value in map(_number, arguments.values()) if not isinstance(value, torch.Tensor)]
    if len(numbers) != 1:
        return None
    function: Callable[..., torch.Tensor] = getattr(torch, op.name)
    return lambda x: function(x, torch.as_tensor(numbers[0], dtype=x.dtype, device=x.device))


def _number(value: Any) -> Any:
    """A constant tensor of one element as the number it holds; everything else as it is."""
    # Not of a subclass: a fake or a sharded tensor has no value that could be read here.
    is_plain = type(value) is torch.Tensor and value.numel() == 1 and not value.requires_grad and not value.is_meta
    return value.item() if is_plain else value

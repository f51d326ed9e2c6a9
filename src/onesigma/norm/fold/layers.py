"""Which layers may take a norm in, and why others may not."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onesigma.model.graph import Call
from onesigma.model.names import module_names
from onesigma.model.state import is_expanded
from onesigma.norm.fold.affine import affine_of, reason_against_norm
from onesigma.norm.fold.flow import Flow, Use

__all__ = ["Layers"]

_OPS: Mapping[type[nn.Module], str] = {
    nn.Linear: "linear",
    nn.modules.linear.NonDynamicallyQuantizableLinear: "linear",  # the out_proj of nn.MultiheadAttention
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
}


class Layers:
    """The modules of a twin by name, with what speaks against changing one.

    With `subclasses` a layer may be of any class derived from PyTorch's own: what it did with its weight was seen.
    Which parameters share memory is asked of the original: the twin in float64 has memory of its own for each.
    """

    def __init__(self, twin: nn.Module, flow: Flow, *, original: nn.Module, subclasses: bool = False) -> None:
        self.flow, self.subclasses = flow, subclasses
        self.by_name = {name: module for module, name in module_names(twin).items()}
        self.originals = {name: module for module, name in module_names(original).items()}

    def reason_against(self, reader: Call | Use, *, num_runs: int) -> str:
        """Why a layer or norm cannot be changed for the sake of these many of its runs; empty if it can."""
        if isinstance(reader, Use):
            name, runs, reason = reader.norm, len(self.flow.uses[reader.norm]), self._reason_against_norm(reader.norm)
        else:
            name, runs = reader.layer, len(self.flow.calls_of(reader.layer, op=reader.op))
            reason = self._reason_against_layer(reader)
        return reason or (f"{name!r} also runs elsewhere, without this norm" if runs > num_runs else "")

    def reason_against_pair(self, norm: str, layer: str) -> str:
        """A hook on a module around one of the two alone, which would see another signal; empty if there is none."""
        around = set(_around(norm)) ^ set(_around(layer))
        for name in sorted(around):
            module = self.by_name.get(name)
            if module is not None and (module._forward_hooks or module._forward_pre_hooks):
                return f"a hook on {name!r}, between {layer!r} and it, would see another signal"
        return ""

    def setting(self, call: Call, name: str, *, default: int) -> int:
        """A number that a linear call was made with."""
        value = self.flow.settings[call.index].get(name, default)
        assert isinstance(value, int)
        return value

    def _reason_against_layer(self, call: Call) -> str:
        name, module = call.layer, self.by_name.get(call.layer)
        own = {key: f"{name}.{key}".lstrip(".") for key in ("weight", "bias")}
        bias = None if module is None or getattr(module, "bias", None) is None else own["bias"]
        if call.parameters.get("weight") != own["weight"] or call.parameters.get("bias") != bias:
            return f"{call.name!r} is a function call with weights of the model's own; make it a module"
        assert module is not None
        if (
            parametrize.is_parametrized(module)
            or call.attributes.get("parametrized")
            or "weight" not in module._parameters
            or module._forward_pre_hooks
        ):
            return f"the weight of {name!r} is computed anew at every call (a parametrization or a hook)"
        if module._forward_hooks:
            return f"a forward hook is attached to {name!r}"
        if _OPS.get(type(module)) != call.op:
            known = any(isinstance(module, kind) and op == call.op for kind, op in _OPS.items())
            if not (known and self.subclasses):
                kind = f"{type(module).__module__}.{type(module).__qualname__}"
                ask = "; subclasses=True believes what a run shows" if known else ""
                return f"{name!r} is a {kind}, which is no plain linear layer or convolution{ask}"
        return self._reason_against_parameters(name, module, op=call.op)

    def _reason_against_norm(self, name: str) -> str:
        norm = self.by_name[name]
        reason = reason_against_norm(norm, opened=name in self.flow.opened)
        if reason or not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            return f"{name!r}: {reason or 'it has no γ and β'}"
        if affine_of(norm, ()) is None:
            return f"{name!r}: its statistics are not finite"
        return self._reason_against_parameters(name, norm, op="batch_norm")

    def _reason_against_parameters(self, name: str, module: nn.Module, *, op: str) -> str:
        own = {id(call) for call in self.flow.calls_of(name, op=op)}
        for key, parameter in module._parameters.items():
            if parameter is None:
                continue
            if parameter.is_meta or not parameter.is_floating_point():
                return f"{name}.{key} holds no real numbers ({parameter.dtype} on {parameter.device})"
            original = self.originals[name]._parameters[key]
            assert original is not None
            if is_expanded(original):
                return f"{name}.{key} is expanded, so that several of its numbers are one in memory"
            if self._owners[_memory(original)] > 1:
                return f"{name}.{key} is tied to another parameter, which would change with it"
            full = f"{name}.{key}".lstrip(".")
            if any(full in names for names in self._reads(own)):
                return f"{name}.{key} is read by another call too"
        return ""

    def _reads(self, own: set[int]) -> Iterator[tuple[str, ...]]:
        return (names for call in self.flow.graph.calls if id(call) not in own for names in call.origins.values())

    @cached_property
    def _owners(self) -> Mapping[object, int]:
        """Memory → how many parameters and buffers of different modules lie in it."""
        found: dict[object, int] = {}
        for module in self.originals.values():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None:
                    found[_memory(tensor)] = found.get(_memory(tensor), 0) + 1
        return found


def _around(name: str) -> Iterator[str]:
    """The names of the modules that hold this one, but for the model itself."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _memory(tensor: Tensor) -> object:
    if tensor.layout == torch.strided and tensor.numel():
        return (tensor.device, tensor.untyped_storage().data_ptr())
    return id(tensor)

"""The recorder: a mode under which every torch function of a model is seen, with its place and its data flow."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from onesigma._errors import CaptureError
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.graph import Call, Graph
from onesigma.model.names import module_names, tensor_names
from onesigma.model.ops import is_in_place, op_of
from onesigma.model.roles import Operands, Origin, attributes_of, fan_of_call, kind_of, parameter_roles, pointwise
from onesigma.model.state import version_of

__all__ = ["Listener", "Recorder", "Site"]

# Recorded even where all that goes in is parameters: a learned latent through a linear layer is a signal.
_ALWAYS = frozenset({"linear", "embedding", "recurrent", "attention"})
_OWNED = frozenset({"linear", "embedding", "norm", "recurrent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One call while it runs, with the tensors that `Call` does not hold.

    Attributes:
        call: What is known of the call; its shape and dtype only after it ran.
        arguments: All arguments by name ("input", "weight", "stride", …), as the user passed them.
        tensors: The tensors among them, in order; those in a list as "tensors.0", "tensors.1".
        weights: Role → the tensor that the call reads: the very Parameter, or what was computed from it.
        module: The innermost module that made the call.
        function: What was called, so that it can be called again with other tensors.
    """

    call: Call
    arguments: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    module: nn.Module
    function: Callable[..., Any]


class Listener:
    """Looks at every call while it runs. Torch functions called in here are not recorded."""

    def before(self, site: Site) -> None:
        """The call is about to run: arguments still hold their values, also those of an in-place operation."""

    def after(self, site: Site, output: Any) -> Any:
        """The call has run; what is returned is what the model goes on with."""
        return output

    def aside(self, function: Callable[..., Any], operands: Operands | None, output: Any) -> None:
        """What is no call of the graph has run: random numbers without operands, else masks, indices, constants."""


class Recorder(TorchFunctionMode):
    """Records calls while its `run` or `evaluate` is under way."""

    def __init__(self, model: nn.Module, *, listeners: Sequence[Listener] = ()) -> None:
        super().__init__()
        self.model = model
        self.listeners = tuple(listeners)
        self.calls: list[Call] = []
        self._names = module_names(model)
        self._modules = {name: module for module, name in reversed(self._names.items())}
        self._visited = {model}
        self._stack: list[tuple[nn.Module, str]] = [(model, "")]
        self._counts: Counter[tuple[str, str]] = Counter()
        self._outputs: tuple[int, ...] = ()
        self._inputs: tuple[str, ...] = ()
        self._failure: tuple[BaseException, str] | None = None
        self._parameters = tensor_names(model)
        # Weak, so that recording keeps no activation alive.
        self._origins: Any = WeakTensorKeyDictionary()
        for name, tensor in self._parameters.items():
            self._origins[tensor] = Origin(names=(name,))

    @property
    def graph(self) -> Graph:
        """What was recorded so far."""
        return Graph(tuple(self.calls), self._outputs, self._inputs)

    def run(self, batch: Batch) -> Any:
        """The model's output for a batch whose tensors are on its device.

        Raises:
            CaptureError: The model raised.
        """
        named = {**{str(i): value for i, value in enumerate(batch.args)}, **batch.kwargs}
        found = [(name, tensor) for name, value in named.items() for tensor in tensors_in(value)]
        self._inputs = tuple(name for name, _ in found)
        for number, (_, tensor) in enumerate(found):
            self._origins[tensor] = Origin(call=-1 - number, discrete=_is_discrete(tensor))
        with self._explained(f"{type(self.model).__name__}.forward"), self:
            output = self.model(*batch.args, **batch.kwargs)
        found_calls = (self.index_of(tensor) for tensor in tensors_in(output))
        self._outputs = tuple(dict.fromkeys(index for index in found_calls if index is not None))
        return output

    def evaluate(self, loss: Callable[..., torch.Tensor], output: Any, targets: Any) -> torch.Tensor:
        """`loss(output, targets)`, recorded.

        Raises:
            CaptureError: The loss raised.
        """
        with self._explained("the loss"), self:
            return loss(output, targets)

    def index_of(self, tensor: torch.Tensor) -> int | None:
        """Index of the call that made this tensor, negative for an input of the model; None if unknown."""
        origin = self._origins.get(tensor)
        return None if origin is None else origin.call

    def enter_module(self, module: nn.Module, args: Any) -> None:
        """Global forward pre-hook: keeps the path of the module that runs."""
        self._visited.add(module)
        self._stack.append((module, self._names.get(module, self._stack[-1][1])))

    def leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        """Global forward hook, called also when the module raised."""
        error = sys.exc_info()[1]
        if error is not None and (self._failure is None or self._failure[0] is not error):
            self._failure = (error, self._stack[-1][1])
        if len(self._stack) > 1 and self._stack[-1][0] is module:
            if error is None and module in self._names:
                self._bridge(module, args, output)
            self._stack.pop()

    def _bridge(self, module: nn.Module, args: Any, output: Any) -> None:
        """A module whose result came about unseen, as in TorchScript, is one unknown call."""
        with torch._C.DisableTorchFunction():
            inputs = [index for index in map(self.index_of, tensors_in(args)) if index is not None]
            made = [tensor for tensor in tensors_in(output) if not _is_discrete(tensor) and tensor not in self._origins]
            if not inputs or not made:
                return
            name, layer = type(module).__name__, self._names[module]
            call = Call(
                index=len(self.calls),
                op="unknown",
                kind="unknown",
                layer=layer,
                module=name,
                call=self._counts[layer, "unknown"],
                inputs=tuple(inputs),
                shape=tuple(made[0].shape),
                dtype=str(made[0].dtype).removeprefix("torch."),
                training=module.training,
                attributes={"function": name},
            )
            self.calls.append(call)
            self._counts[layer, "unknown"] += 1
            for tensor in made:
                self._origins[tensor] = Origin(call=call.index)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            layer = self._failure[1] if self._failure is not None and self._failure[0] is error else ""
            where = f" in layer {layer!r}" if layer else ""
            last = self.calls[-1] if self.calls else None
            ran = (
                f"the last call that ran was {last.op} in {last.layer or 'the model'!r}"
                if last
                else "no call ran before"
            )
            raise CaptureError(f"{what} raised {type(error).__name__}{where}; {ran}. It said: {error}") from error

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            with self:
                return _multi_head_attention_forward(*args, **kwargs)
        op = op_of(func)
        if op is None:
            return self._made_of_nothing(func, None, func(*args, **kwargs))
        with torch._C.DisableTorchFunction():  # Other modes need not see how we look at tensors.
            operands = Operands.of(op, args, kwargs, self._origins)
            is_signal = op.kind != "discrete" and (
                op.kind in _ALWAYS or bool(operands.calls) or self._maps_a_constant(operands)
            )
            site = self._site(func, operands) if operands.origins and is_signal else None
            if site is not None:
                for listener in self.listeners:
                    listener.before(site)
            versions = {id(tensor): version_of(tensor) for tensor in operands.tensors.values()}
        output = func(*args, **kwargs)
        if not operands.origins:
            is_known = op.kind != "unknown" and all(tensor in self._origins for tensor in operands.tensors.values())
            return self._made_of_nothing(func, operands, output) if is_known else output
        with torch._C.DisableTorchFunction():
            if site is None:
                for listener in self.listeners:
                    listener.aside(func, operands, output)
                return self._follow(operands, output)
            in_place = is_in_place(func) or bool(operands.arguments.get("inplace"))
            return self._record(site, operands, output, versions=versions, in_place=in_place)

    def _made_of_nothing(self, func: Callable[..., Any], operands: Operands | None, output: Any) -> Any:
        """Remember that zeros, noise and what is computed from them alone came about before our eyes."""
        if isinstance(output, torch.Tensor):
            with torch._C.DisableTorchFunction():
                for listener in self.listeners:
                    listener.aside(func, operands, output)
            if output not in self._origins:
                self._origins[output] = Origin()
        return output

    def _maps_a_constant(self, operands: Operands) -> bool:
        """Positions that the model makes up itself go through a weight: the weight is no constant then, but a layer."""
        if operands.op.kind != "matmul" or any(type(module) is ParametrizationList for module, _ in self._stack):
            return False
        factors = [name for name in operands.tensors if name != "bias"]
        weights = [name for name in operands.names if isinstance(self._parameters[name], nn.Parameter)]
        return bool(weights) and any(name not in operands.origins for name in factors)

    def _follow(self, operands: Operands, output: Any) -> Any:
        """Remember what `output` was made from, where it is no signal: weights being computed, masks, indices."""
        call = next(iter(operands.calls), None)
        derived = operands.op.kind != "shape" or any(origin.derived for origin in operands.origins.values())
        origin = Origin(
            call=call,
            names=() if operands.calls else operands.names,
            derived=derived,
            discrete=call is not None,
            compared=operands.compared,
        )
        arguments = {id(tensor) for tensor in operands.tensors.values()}
        for tensor in tensors_in(output):
            if id(tensor) not in arguments:
                self._origins[tensor] = origin
        return output

    def _site(self, func: Callable[..., Any], operands: Operands) -> Site:
        op, origins = operands.op, operands.origins
        kind = kind_of(operands, after_attention=self._after_attention(operands))
        roles = parameter_roles(operands, kind)
        parameters = {role: self._logical_name(origins[key].names) for role, key in roles.items()}
        module, layer = self._where(parameters.get("weight"), kind=kind)
        attributes = attributes_of(operands)
        if "weight" in roles and origins[roles["weight"]].derived:
            attributes["parametrized"] = True
        if op.name == "unknown":
            attributes["function"] = getattr(func, "__name__", repr(func))
        fan = fan_of_call(operands, kind, weight=_main_weight(roles))
        call = Call(
            index=len(self.calls),
            op=op.name,
            kind=kind,
            layer=layer,
            module=type(module).__name__,
            call=self._counts[layer, op.name],
            inputs=operands.calls,
            parameters=parameters,
            fan_in=float(fan.fan_in),
            fan_out=float(fan.fan_out),
            training=module.training,
            attributes=attributes,
            origins={role: origins[key].names for role, key in roles.items()},
            function=pointwise(op, operands.arguments),
        )
        weights = {role: operands.tensors[key] for role, key in roles.items()}
        return Site(
            call=call,
            arguments=operands.arguments,
            tensors=operands.tensors,
            weights=weights,
            module=module,
            function=func,
        )

    def _where(self, weight: str | None, *, kind: str) -> tuple[nn.Module, str]:
        """The module that made the call, and its path."""
        module, layer = self._stack[-1]
        owner = (weight or "").rpartition(".")[0]
        inside = owner.startswith(f"{layer}.") if layer else bool(owner)
        if kind in _OWNED and inside and owner in self._modules and self._modules[owner] not in self._visited:
            # A module that is used without being called, as MultiheadAttention uses its out_proj.
            return self._modules[owner], owner
        return module, layer

    def _logical_name(self, names: Sequence[str]) -> str:
        """The parameter that a weight is mainly made of; both halves of a weight norm are "fc.weight"."""
        tensors = self._parameters
        name = max(names, key=lambda name: (isinstance(tensors[name], nn.Parameter), tensors[name].numel()))
        head, _, tail = name.rpartition(".")
        return head if tail.startswith("original") else name

    def _after_attention(self, operands: Operands) -> bool:
        """A softmax over products of queries and keys, scaled and masked or not."""
        index = next(iter(operands.calls), -1)
        while (
            index >= 0 and self.calls[index].kind in ("scale", "shape", "join", "dropout") and self.calls[index].inputs
        ):
            index = self.calls[index].inputs[0]
        return index >= 0 and self.calls[index].kind == "attention"

    def _record(
        self, site: Site, operands: Operands, output: Any, *, versions: Mapping[int, int], in_place: bool
    ) -> Any:
        target = operands.tensors.get("input")
        made = list(tensors_in(output)) or ([target] if in_place and target is not None else [])
        if not made:
            return output
        if all(map(_is_discrete, made)):
            for listener in self.listeners:
                listener.aside(site.function, operands, output)
            return self._follow(operands, output)
        changed = in_place or any(versions.get(id(tensor), version_of(tensor)) != version_of(tensor) for tensor in made)
        returned = not changed and any(id(tensor) in versions for tensor in made)
        if returned and site.call.kind in ("shape", "unknown"):
            return output
        call = replace(site.call, shape=tuple(made[0].shape), dtype=str(made[0].dtype).removeprefix("torch."))
        self.calls.append(call)
        self._counts[call.layer, call.op] += 1
        for listener in self.listeners:
            output = listener.after(replace(site, call=call), output)
        # What came back untouched, as from a dropout in eval mode, still is what it was.
        is_discrete = not operands.signals and call.kind not in _ALWAYS
        origin = Origin(call=call.index, discrete=is_discrete, compared=is_discrete and operands.compared)
        places = replace(origin, discrete=True)  # Beside values, as of topk.
        for tensor in () if returned else (*tensors_in(output), *(made if changed else ())):
            self._remember(tensor, places if _is_discrete(tensor) else origin, changed=changed)
        return output

    def _remember(self, tensor: torch.Tensor, origin: Origin, *, changed: bool) -> None:
        self._origins[tensor] = origin
        if changed and tensor._base is not None and tensor._base in self._origins:
            self._origins[tensor._base] = origin


def _main_weight(roles: Mapping[str, str]) -> str | None:
    """The argument whose fans are those of the call."""
    return next((key for role, key in roles.items() if role.startswith("weight")), None)


def _is_discrete(tensor: torch.Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex())


# The body of torch's function without its first lines, which would hand it to the recorder again: looked into, its
# projections, products and softmax are calls like any other.
_multi_head_attention_forward = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**F.multi_head_attention_forward.__globals__, "has_torch_function": lambda tensors: False},
    "multi_head_attention_forward",
    F.multi_head_attention_forward.__defaults__,
)

"""Leave no trace: everything that a pass over a model may change is put back, bit for bit."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from onesigma._errors import ModelError
from onesigma.model.randomness import random_state_preserved

__all__ = ["fingerprint", "is_expanded", "preserved", "random_state_preserved", "version_of"]

# Below this many bytes all parameters are copied up front; above, each is copied before the first write to it.
_EAGER_BYTES = 1 << 24

# Functions that hand out memory of a tensor past its version counter, so that later writes cannot be seen.
_LEAKS = frozenset({"data", "detach", "numpy", "__array__", "data_ptr", "untyped_storage", "storage", "__dlpack__"})

# Arguments that make a function write, unless they are None or False.
_WRITING = frozenset({"inplace", "max_norm", "out"})

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@contextmanager
def preserved(model: nn.Module, *, parameters: bool = True) -> Iterator[None]:
    """While open the model may be run, forward and backward; afterwards it is what it was, bit for bit.

    Put back are the values of parameters and buffers, `.grad` (hidden while open, so that a backward pass starts from
    nothing and leaves accumulated gradients alone), `requires_grad`, training modes, hooks and all other attributes of
    its modules, the random state of torch, CUDA, Python and NumPy, and the grad mode. Also when the body raises.

    Args:
        model: Any module.
        parameters: False leaves the values of parameters as the body made them.

    Raises:
        ModelError: The model has lazy layers that have not seen a batch, so no state that could be put back.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with preserved(norm):
        ...     _ = norm(torch.randn(8, 2))
        >>> norm.running_mean.tolist(), int(norm.num_batches_tracked)
        ([0.0, 0.0], 0)
    """
    modules = list(model.modules())
    held, buffers = _held_by(modules, kind="_parameters"), _held_by(modules, kind="_buffers")
    if any(map(is_lazy, (*held, *buffers))):
        raise _laziness(model)
    with ExitStack() as stack:
        stack.enter_context(random_state_preserved())
        stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
        stack.callback(_attributes_restorer(modules))
        stack.callback(_gradients_restorer(held))
        stack.callback(_buffers_restorer(buffers))
        if parameters:
            stack.enter_context(_parameters_preserved(held))
        yield


def fingerprint(model: nn.Module) -> str:
    """A digest of all that `preserved` promises: equal before and after means that nothing changed.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = fingerprint(layer)
        >>> layer.weight.data[0, 0] += 1
        >>> fingerprint(layer) == before
        False
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        hooks = [(key, sorted(map(str, value))) for key, value in _containers(module).items() if "hook" in key]
        digest.update(repr((name, type(module).__name__, module.training, hooks)).encode())
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        digest.update(repr((name, id(tensor), id(tensor.grad), tensor.requires_grad)).encode())
        digest.update(_bits(tensor))
        digest.update(b"" if tensor.grad is None else _bits(tensor.grad))
    for state in (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        np.random.get_state(),
        torch.is_grad_enabled(),
    ):
        digest.update(repr(state).encode())
    return digest.hexdigest()


def _bits(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _held_by(modules: Sequence[nn.Module], *, kind: str) -> list[torch.Tensor]:
    """Every tensor in these dictionaries of the modules, once."""
    held = {id(tensor): tensor for module in modules for tensor in getattr(module, kind).values() if tensor is not None}
    return list(held.values())


def _laziness(model: nn.Module) -> ModelError:
    named = chain(model.named_parameters(), model.named_buffers())
    name = next((name for name, tensor in named if is_lazy(tensor)), "The model")
    return ModelError(f"{name} has no shape yet; run one batch through the model so that its lazy layers are built.")


def _containers(module: nn.Module) -> dict[str, Any]:
    """The dictionaries that a module keeps its parts and hooks in."""
    return {key: value for key, value in module.__dict__.items() if isinstance(value, dict) and key.startswith("_")}


def _attributes_restorer(modules: Sequence[nn.Module]) -> Callable[[], None]:
    """Puts back attributes, parts, hooks and modes of all modules; mutable values keep what was done inside them."""
    plain = [module for module in modules if not isinstance(module, torch.jit.ScriptModule)]
    saved = [(module.__dict__, dict(module.__dict__)) for module in plain]
    found = chain.from_iterable(_containers(module).values() for module in plain)
    contents = [(container, dict(container) if container else _NOTHING) for container in found]

    def restore() -> None:
        for attributes, before in saved:
            attributes.clear()
            attributes.update(before)
        for container, content in contents:
            if container or content:
                _refill(container, content=content)

    return restore


def _refill(container: dict[Any, Any], *, content: Mapping[Any, Any]) -> None:
    if list(container) != list(content) or any(container[key] is not content[key] for key in content):
        container.clear()
        container.update(content)


def _gradients_restorer(parameters: Sequence[torch.Tensor]) -> Callable[[], None]:
    saved = [(parameter, parameter.grad, parameter.requires_grad) for parameter in parameters]
    for parameter, _, _ in saved:
        parameter.grad = None

    def restore() -> None:
        for parameter, gradient, trainable in saved:
            parameter.grad = None
            if parameter.requires_grad != trainable:  # of a tensor made in inference mode it cannot even be set anew
                parameter.requires_grad_(trainable)
            parameter.grad = gradient

    return restore


def _buffers_restorer(buffers: Sequence[torch.Tensor]) -> Callable[[], None]:
    saved = [_Saved(buffer) for buffer in buffers]
    for buffer in saved:
        buffer.copy()

    def restore() -> None:
        for buffer in saved:
            buffer.restore()

    return restore


class _Saved:
    """One tensor as it was: its memory, and a copy of its values once somebody may write to them."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.memory = tensor.detach()
        self.values: torch.Tensor | None = None
        self.version = version_of(tensor)

    def copy(self) -> None:
        if self.values is None:
            self.values = self.memory.clone()

    def restore(self) -> None:
        """Write the values back where they differ, past the version counter: a graph the user holds stays valid."""
        if self.tensor.layout != torch.strided:
            return  # sparse values are replaced, never written to
        if self.values is None and self._is_in_place():
            return
        # In this order: the first sets the second.
        with torch.inference_mode(self.tensor.is_inference()), torch.no_grad():
            if not self._is_in_place():
                self.tensor.data = self.memory
            if self.values is None or (is_expanded(self.tensor) and torch.equal(self.tensor, self.values)):
                return
            self.tensor.data.copy_(self.values)

    def _is_in_place(self) -> bool:
        return self.tensor.data_ptr() == self.memory.data_ptr() and self.tensor.shape == self.memory.shape

    @property
    def lost(self) -> bool:
        """Somebody wrote to the tensor unseen."""
        return self.values is None and version_of(self.tensor) != self.version


def is_expanded(tensor: torch.Tensor) -> bool:
    """Several of its places are one number in memory, which torch does not write to."""
    return any(size > 1 and step == 0 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def version_of(tensor: torch.Tensor) -> int:
    """How often somebody has written to this memory; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def _parameters_preserved(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    saved = {id(parameter): _Saved(parameter) for parameter in parameters}
    eager = sum(parameter.nbytes for parameter in parameters) <= _EAGER_BYTES
    for entry in saved.values() if eager else ():
        entry.copy()
    guard = None if eager else _CopyBeforeWrite(saved)
    try:
        with guard or ExitStack():
            yield
    finally:
        for entry in saved.values():
            entry.restore()
    if any(entry.lost for entry in saved.values()):
        raise ModelError(
            "The model's forward writes its parameters in a way that cannot be undone; measure a copy of it."
        )


class _CopyBeforeWrite(TorchFunctionMode):
    """Copies a parameter before the first function that may write to it, or hand out its memory, runs."""

    def __init__(self, saved: Mapping[int, _Saved]) -> None:
        super().__init__()
        self.saved = saved

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _may_write(func) or (kwargs and _is_asked_to_write(kwargs)):
            for value in chain(args, kwargs.values()):
                self._copy(value)
        return func(*args, **kwargs)

    def _copy(self, value: Any) -> None:
        for item in value if isinstance(value, (tuple, list)) else (value,):
            for owner in (item, getattr(item, "_base", None)) if isinstance(item, torch.Tensor) else ():
                if id(owner) in self.saved:
                    self.saved[id(owner)].copy()


def _is_asked_to_write(kwargs: Mapping[str, Any]) -> bool:
    # By identity: `out` holds a tensor, which would compare value by value.
    return any(kwargs[name] is not None and kwargs[name] is not False for name in _WRITING.intersection(kwargs))


@cache
def _may_write(func: Callable[..., Any]) -> bool:
    """Whether the function writes to one of its arguments, or hands out its memory."""
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        name = getattr(getattr(func, "__self__", None), "__name__", "")
    writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
    return writes or name in _LEAKS

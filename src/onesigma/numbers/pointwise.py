"""Any activation as a function of float64 arrays, with its slope, and without a trace in the user's objects."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from onesigma._errors import GainError
from onesigma._typing import Activation
from onesigma.numbers.lobatto import Array

__all__ = ["Pointwise", "describe", "pointwise"]

# Unordered on purpose: a function of neighbors, of position or of rank gives itself away.
_PROBE = np.array([0.3, -1.7, 2.4, -0.2, 0.9, -3.1, 1.3])


@dataclass(frozen=True, slots=True)
class Pointwise:
    """f: (P,) → (C, P) in float64, C = 1 but for activations with one parameter per channel.

    Attributes:
        function: The callable itself.
        name: For messages.
        dtype: What it is called with: float64, or the widest type that it accepts.
        trailing: The axes after the first that it wants: () or (C,), (C, 1), (C, 1, 1).
        precision: Relative rounding error of its values.
        differentiable: Whether autograd gives slopes.
    """

    function: Activation
    name: str
    dtype: torch.dtype = torch.float64
    trailing: tuple[int, ...] = ()
    precision: float = torch.finfo(torch.float64).eps
    differentiable: bool = True

    @property
    def channels(self) -> int:
        """C, the number of functions that f is."""
        return self.trailing[0] if self.trailing else 1

    def of(self, inner: Activation) -> "Pointwise":
        """z ↦ f(inner(z))."""
        return replace(self, function=lambda x: self.function(inner(x)))

    def odd_part(self) -> "Pointwise":
        """z ↦ f(z) − f(−z)."""
        return replace(self, function=lambda x: self.function(x.clone()) - self.function(-x))

    def __call__(self, points: Array) -> Array:
        """The values, (C, P)."""
        with _neutral():
            return self._rows(self.apply(self.input(points)))

    def with_slope(self, points: Array) -> Array:
        """The values and under them the slopes by autograd, (2C, P)."""
        with _neutral(), torch.enable_grad():
            leaf = self.input(points).requires_grad_()
            values = self.apply(leaf.clone())  # a clone, because f may work in place
            (slopes,) = torch.autograd.grad(values.sum(), leaf, allow_unused=True, materialize_grads=True)
            return np.concatenate((self._rows(values), self._rows(slopes)))

    def input(self, points: Array) -> torch.Tensor:
        """The points as f wants them, the same for each channel."""
        column = torch.from_numpy(points).to(self.dtype).reshape(-1, *(1 for _ in self.trailing))
        return column.expand(-1, *self.trailing).clone()

    def _rows(self, values: torch.Tensor) -> Array:
        return values.detach().reshape(len(values), -1).to(torch.float64).numpy().T

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """f(x) as a real tensor of x's shape."""
        shape = x.shape
        with torch.device("cpu"):
            returned: Any = self.function(x)
        if not isinstance(returned, np.ndarray | torch.Tensor):  # a number; its dtype says nothing
            returned = torch.as_tensor(returned, dtype=self.dtype, device="cpu")
        values = torch.as_tensor(returned, device="cpu")
        if values.is_complex():
            raise GainError(f"{self.name}: an activation maps real numbers to real numbers, this one to complex ones.")
        if values.ndim == 0:  # a constant
            values = values.expand(shape)
        if values.shape != shape:
            raise GainError(
                f"{self.name}: an activation keeps its input's shape, but {tuple(shape)} became {tuple(values.shape)}; "
                "for a gated pair give its name: 'glu', 'swiglu', 'geglu', 'reglu' or 'bilinear'."
            )
        return values if values.is_floating_point() else values.to(self.dtype)


@contextmanager
def _neutral() -> Iterator[None]:
    """While open, no setting of the caller reaches f, and nothing f does to the random state stays."""
    with (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        yield


def describe(f: object) -> str:
    """A short name for messages: "tanh", "Hardshrink(0.5)"."""
    if isinstance(f, str):
        return f
    name = getattr(f, "__name__", None) or " ".join(repr(f).split())
    return name if len(name) <= 60 else type(f).__name__


def pointwise(f: Activation) -> Pointwise:
    """Make f callable on float64 arrays.

    A module is copied, without its hooks, in float64 and eval mode: the original is not touched.

    Raises:
        GainError: f cannot be called on a tensor, is random, or mixes the elements of its input.
    """
    name = describe(f)
    if isinstance(f, type):
        f = _instance(f)
    f = getattr(f, "_orig_mod", getattr(f, "_torchdynamo_orig_callable", f))  # compiled: its source is exact and quick
    if not callable(f):
        raise GainError(f"{name}: an activation is a name, a function or a module, got {type(f).__name__}.")
    channels = 0
    if hasattr(f, "named_parameters") and hasattr(f, "train"):
        f, channels = _private_copy(f, name)
    layouts = [(), *([(channels,), (channels, 1), (channels, 1, 1)] if channels > 1 else [])]
    candidates = [
        Pointwise(f, name, dtype, trailing)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
        for trailing in layouts
    ]
    chosen = _first_that_runs(candidates)
    _check_pointwise(chosen)
    return replace(chosen, precision=_precision(chosen), differentiable=_differentiable(chosen))


def _instance(kind: type) -> Any:
    """`nn.ReLU` given for `nn.ReLU()`."""
    try:
        return kind()
    except TypeError as error:
        raise GainError(f"{kind.__name__}: a class was given, and it needs arguments; give an instance.") from error


def _private_copy(module: Any, name: str) -> tuple[Any, int]:
    """The module in float64 and eval mode, and the number of channels its parameters tell of."""
    if any(parameter.is_meta for parameter in module.parameters()):
        raise GainError(f"{name}: its parameters are on the meta device and have no values; materialize them first.")
    try:
        private = copy.deepcopy(module).to("cpu", torch.float64).eval()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise GainError(
            f"{name}: the module cannot be copied to float64 on the CPU ({error}); give a plain function instead."
        ) from error
    for part in private.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks):
            hooks.clear()
    for parameter in private.parameters():
        parameter.requires_grad_(False)
    return private, max((parameter.numel() for parameter in private.parameters()), default=0)


def _first_that_runs(candidates: list[Pointwise]) -> Pointwise:
    """The first of these ways to call f that does not raise."""
    failures: list[Exception] = []
    for candidate in candidates:
        try:
            candidate(_PROBE)
        except Exception as error:  # whatever a user's function raises; the next way may do
            failures.append(error)
        else:
            return candidate
    first = failures[0]
    if isinstance(first, GainError):
        raise first
    raise GainError(
        f"{candidates[0].name}: an activation is called with one tensor and returns one; "
        f"this one raised {type(first).__name__}: {first}"
    ) from first


def _check_pointwise(f: Pointwise) -> None:
    """Raise unless each value depends on its own point alone, and is the same every time."""
    values = f(_PROBE)
    again = []
    with _neutral():
        for _ in range(4):  # seven values that a dropout keeps are kept again one time in 128
            torch.rand(1, device="cpu")  # so that the generator is in another state
            again.append(f(_PROBE))
    if not all(np.array_equal(values, other, equal_nan=True) for other in again):
        raise GainError(
            f"{f.name}: two calls on the same input differ; a random function has no gain: use its eval mode."
        )
    if not (_ignores_position(f, values) and _ignores_neighbors(f)):
        raise GainError(
            f"{f.name}: a value depends on the other elements of the input, as in softmax or a normalization; "
            "only pointwise functions have a gain."
        )


def _ignores_position(f: Pointwise, values: Array) -> bool:
    try:
        part = f(_PROBE[2:5][::-1].copy())[:, ::-1]
    except Exception:  # a length that f insists on
        return False
    tolerance = 64 * _precision(f)
    return np.allclose(part, values[:, 2:5], rtol=tolerance, atol=tolerance, equal_nan=True)


def _ignores_neighbors(f: Pointwise) -> bool:
    with _neutral():
        before = f.input(_PROBE)
        after = before.clone()
        after.view(-1)[2] += 0.5
        change = f.apply(after) - f.apply(before)
    others = torch.ones(change.numel(), dtype=torch.bool, device="cpu")
    others[2] = False
    return bool((change.reshape(-1)[others].nan_to_num() == 0).all())


def _precision(f: Pointwise) -> float:
    with _neutral():
        returned = f.apply(f.input(_PROBE)).dtype
    return max(torch.finfo(f.dtype).eps, torch.finfo(returned).eps)


def _differentiable(f: Pointwise) -> bool:
    try:
        return not np.isnan(f.with_slope(_PROBE)).any()
    except Exception:  # it leaves no graph, or autograd cannot go through it
        return False

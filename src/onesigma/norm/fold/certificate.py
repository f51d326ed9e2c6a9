"""The proof of a fold: what the model gives before and after, in float64 and in its own dtype."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onesigma._errors import CaptureError, ModelError
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.capture import recording
from onesigma.model.state import preserved
from onesigma.norm.fold.flow import in_float64
from onesigma.norm.fold.results import Results
from onesigma.norm.fold.variants import variants_of
from onesigma.norm.proof import relative_change

__all__ = ["EXACT", "Proof", "Rounding", "float64_twin", "in_eval"]

Outputs = tuple[Tensor, ...]

EXACT = 1e-10
"""Largest relative change of the output in float64."""

_NOISE = 2.0
# An output of a few numbers may by luck be rounded to within a fraction of a unit: that much is granted to any model.
_UNITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """Distance from the float64 result, relative to its largest value.

    Attributes:
        error: Of the folded model.
        noise: Of the model as it was.
        limit: 2·noise, or 4 units of rounding where that is more.
    """

    error: float
    noise: float
    limit: float

    def __str__(self) -> str:
        return f"rounding error {self.error:.1e}, {self.noise:.1e} before"

    @property
    def is_small(self) -> bool:
        """Within the limit; NaN is not."""
        return self.error <= self.limit


class Proof:
    """What a model gave before anything was folded, to compare with.

    Besides the batches there are variants of the first one, as far as the model takes them: with its sign turned, for
    models that branch on their data, and in other shapes, for what is exact at the shape of the batch alone.

    Raises:
        CaptureError: The model, or its float64 twin, raised.
    """

    def __init__(self, live: nn.Module, twin: nn.Module, *, batches: Sequence[tuple[Batch, Batch]]) -> None:
        self.live, self.twin = live, twin
        self.batches = list(batches)
        given = [_settled(live, batch) for batch, _ in self.batches]
        self.exact = [_settled(twin, double, exact=True) for _, double in self.batches]
        self.noise = max(map(_change, self.exact, given))
        floats = [tensor.dtype for outputs in given for tensor in outputs]
        self.unit = max((torch.finfo(dtype).eps for dtype in floats), default=0.0)
        self.reason = _reason_against(self.exact, given)
        variants = list(variants_of(self.batches[0][1]))
        for _, batch in variants:
            _try(twin, batch)
        tried = [(name, batch, _try(twin, batch)) for name, batch in variants]
        self.variants = [(name, batch, outputs) for name, batch, outputs in tried if outputs is not None]

    def change(self) -> tuple[float, str]:
        """Relative change of what the float64 twin gives, and on which batch: "" is one of those given.

        It is infinite if the twin raises or gives something else.
        """
        given = [("", double, outputs) for (_, double), outputs in zip(self.batches, self.exact, strict=True)]
        changes = [(_change(outputs, _try(self.twin, batch)), name) for name, batch, outputs in given]
        for name, batch, outputs in self.variants if max(changes)[0] <= EXACT else ():
            changes.append((_change(outputs, _try(self.twin, batch)), name))
        return max(changes)

    def rounding(self) -> Rounding:
        """How far the live model now is from the exact result."""
        with torch.no_grad():
            error = max(
                _change(outputs, _try(self.live, batch, exact=False))
                for (batch, _), outputs in zip(self.batches, self.exact, strict=True)
            )
        # In a float64 model there is no noise to compare with but that of the same computation.
        least = _UNITS * self.unit if self.unit > EXACT else EXACT
        return Rounding(error=error, noise=self.noise, limit=max(_NOISE * self.noise, least))


def _reason_against(exact: Sequence[Outputs], given: Sequence[Outputs]) -> str:
    if not any(tensor.numel() for outputs in exact for tensor in outputs):
        return "the model returns no floating tensor that a fold could be proven by"
    if not all(bool(tensor.isfinite().all()) for outputs in (*exact, *given) for tensor in outputs):
        return "the model's output is not finite, so that a fold cannot be proven"
    if not all(map(_are_alike, exact, given)):
        return "the model gives something else in float64, so that a fold cannot be proven"
    return ""


def _change(before: Outputs, after: Outputs | None) -> float:
    return float("inf") if after is None or not _are_alike(before, after) else relative_change(before, after)


def _are_alike(one: Outputs, other: Outputs) -> bool:
    return [tensor.shape for tensor in one] == [tensor.shape for tensor in other]


def _settled(model: nn.Module, batch: Batch, *, exact: bool = False) -> Outputs:
    """What the model gives when it runs again: what the first run leaves may be a cache, and no result."""
    run = _exact_outputs if exact else _outputs
    run(model, batch)
    return run(model, batch)


def _try(model: nn.Module, batch: Batch, *, exact: bool = True) -> Outputs | None:
    """What the model gives; None where it raises or is not finite."""
    try:
        outputs = _exact_outputs(model, batch) if exact else _outputs(model, batch)
    except CaptureError:
        return None
    return outputs if all(bool(tensor.isfinite().all()) for tensor in outputs) else None


def _exact_outputs(model: nn.Module, batch: Batch) -> Outputs:
    with in_float64():
        return _outputs(model, batch)


def _outputs(model: nn.Module, batch: Batch) -> Outputs:
    """What the model gives in eval mode; nothing of it changes."""
    with in_eval(model), torch.no_grad(), recording(model) as recorder:
        torch.manual_seed(0)
        results = Results(model)
        return results.of(recorder.run(batch.owned_by(model)))


@contextmanager
def in_eval(model: nn.Module) -> Iterator[None]:
    """While open the model is in eval mode and may be run; afterwards it is what it was, scripted parts included."""
    modes = [(module, module.training) for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    with preserved(model):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def float64_twin(model: nn.Module) -> nn.Module:
    """A copy in float64 and in eval mode.

    Raises:
        ModelError: The model cannot be copied.
    """
    kept = (tensor for module in model.modules() for value in vars(module).values() for tensor in tensors_in(value))
    # What a forward pass left on a module, as for a look at its activations, has a history and cannot be copied.
    memo: dict[int, Any] = {id(tensor): tensor.detach() for tensor in kept if not tensor.is_leaf}
    try:
        return copy.deepcopy(model, memo).double().eval()
    except Exception as error:
        raise ModelError(f"{type(model).__name__} cannot be copied for a proof ({error}).") from error

"""What the BatchNorm layers of a model are fed with: their exact statistics, seen at `F.batch_norm` itself."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from onesigma._errors import BatchError, CaptureError, ModelError
from onesigma._typing import Batches
from onesigma.model.batches import Batch, first_batch, tensors_in
from onesigma.model.names import module_names
from onesigma.norm.channels import Channels, Reading, Scratch, as_table

__all__ = [
    "BatchNorm",
    "BatchNormMode",
    "Forward",
    "Statistics",
    "batch_norms",
    "by_batch",
    "eager",
    "passes",
    "run_all",
]

BatchNorm: TypeAlias = _BatchNorm

Forward: TypeAlias = Callable[[nn.Module, Any], Any]
"""`forward(model, batch)`: how the model is called with one item of the batches, as the iterable yields it."""


def batch_norms(model: nn.Module) -> dict[str, BatchNorm]:
    """Every BatchNorm of a model by canonical name, subclasses and SyncBatchNorm too; a shared one once."""
    return {name: module for module, name in module_names(model).items() if isinstance(module, BatchNorm)}


class BatchNormMode(TorchFunctionMode):
    """While active, `normalize` stands in for `F.batch_norm` wherever it reads the buffers of one of the layers.

    The layers are to be in eval mode, in which every BatchNorm hands over its buffers and writes to none, whatever its
    momentum, subclass or `track_running_stats`; SyncBatchNorm works without a group there.
    """

    def __init__(self, norms: Mapping[str, BatchNorm]) -> None:
        super().__init__()
        self._buffers = [norm.running_mean for norm in norms.values()]
        self._names = {id(buffer): name for buffer, name in zip(self._buffers, norms, strict=True)}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("input", "running_mean", "running_var", "weight", "bias", "training"), args, strict=False))
        given.update(kwargs or {})
        name = self._names.get(id(given["running_mean"]))
        return func(*args, **(kwargs or {})) if name is None else self.normalize(name, given)

    def normalize(self, name: str, given: dict[str, Any]) -> torch.Tensor:
        """The output of the layer called `name`; `given` are the arguments of `F.batch_norm` by name."""
        return by_batch(given)


def by_batch(given: Mapping[str, Any]) -> torch.Tensor:
    """What training makes of these arguments: normalized by the batch, no buffer written."""
    weight, bias = given.get("weight"), given.get("bias")
    return F.batch_norm(given["input"], None, None, weight, bias, training=True, eps=given.get("eps", 1e-5))


class Statistics(BatchNormMode):
    """Collects the moments of every channel that the layers see, all calls of a layer in one.

    Attributes:
        found: Per layer that ran, in order of first execution, the moments of its channels.
        calls: How often it ran.
        within: Per layer, Σ over calls of the squared distances from the mean of the call, per channel, in float64;
            only if asked for.
        degrees: Per layer, Σ over calls of values per channel − 1.
    """

    def __init__(
        self,
        norms: Mapping[str, BatchNorm],
        *,
        by: Literal["batch", "running", "nothing"] = "batch",
        within: bool = False,
    ) -> None:
        super().__init__(norms)
        self.by = by
        self.found: dict[str, Channels] = {}
        self.calls: Counter[str] = Counter()
        self.within: dict[str, torch.Tensor] | None = {} if within else None
        self.degrees: Counter[str] = Counter()
        self._scratch = Scratch()

    def normalize(self, name: str, given: dict[str, Any]) -> torch.Tensor:
        """Look at the input, then normalize by the batch as in training, or by running statistics, or not at all."""
        signal = given["input"]
        rows = signal.numel() // max(signal.shape[1], 1)
        channels = self.found.setdefault(name, Channels())
        with torch._C.DisableTorchFunction():  # modes around this one need not see how we look at a signal
            reading = channels.feed(signal, scratch=self._scratch)
        self.calls[name] += 1
        if self.within is not None:
            table = as_table(signal).double()
            self.within[name] = self.within.get(name, 0.0) + (table - table.mean(0)).square_().sum(0)
            self.degrees[name] += rows - 1
        if self.by == "nothing":
            return torch.clone(signal)
        if self.by == "running":
            return F.batch_norm(**given)
        if rows < 2:
            # One value has no spread. All values seen until now stand in, so that later layers see a signal at all.
            return _by_reading(given, channels.read())
        if reading is None or signal.dtype != torch.float32 or reading.nonfinite.any():
            return by_batch(given)
        return _by_reading(given, reading)


def _by_reading(given: Mapping[str, Any], reading: Reading) -> torch.Tensor:
    mean, variance = reading.tensors(given["running_mean"])
    return F.batch_norm(**{**given, "running_mean": mean, "running_var": variance, "training": False})


def passes(batches: Batches, *, again: bool) -> Iterable[Any]:
    """The items of `batches`; where they are gone over again, an iterator, which can be drawn once, becomes a list."""
    if isinstance(batches, (torch.Tensor, np.ndarray, Mapping, tuple, Batch)):
        return (batches,)
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        first_batch(batches)  # raises, in its own words
    return list(batches) if again and isinstance(batches, Iterator) else batches


def run_all(
    model: nn.Module, items: Iterable[Any], *, forward: Forward | None = None, enough: float = math.inf
) -> Iterator[tuple[Any, Batch]]:
    """The output of the model for every item, with the batch that it was read as; no more once there are `enough` rows.

    Raises:
        CaptureError: The model raised; the message names the batch.
        BatchError: There is no batch, or one that no model can be fed with.
        ModelError: The model has meta tensors.
    """
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        raise ModelError(f"{type(model).__name__} has meta tensors, which hold no values; load its weights first.")
    number, rows = -1, 0
    for number, item in enumerate(items):
        batch = first_batch([item]).owned_by(model) if forward is None else _loose(item)
        try:
            output = model(*batch.args, **batch.kwargs) if forward is None else forward(model, item)
        except Exception as error:
            raise CaptureError(
                f"batch {number}: {type(model).__name__} raised {type(error).__name__}: {error} "
                "Nothing of the model was changed."
            ) from error
        yield output, batch
        rows += batch.num_samples
        if rows >= enough:
            return
    if number < 0:
        raise BatchError("The batches are empty: at least one batch is needed, and the iterable yielded none.")


def _loose(item: Any) -> Batch:
    """An item for the user's own forward: of any form, with targets where the form is a known one."""
    samples = next((tensor.shape[0] for tensor in tensors_in(item) if tensor.dim()), 0)
    try:
        return Batch(targets=first_batch([item]).targets, num_samples=samples)
    except BatchError:
        return Batch(num_samples=samples)


@contextmanager
def eager() -> Iterator[None]:
    """While open, compiled modules run as they are written, so that their calls are seen."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield

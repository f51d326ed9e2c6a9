"""The one door for data: whatever holds batches goes in, `Batch` comes out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import Dataset

from onesigma._errors import BatchError
from onesigma._typing import Batches
from onesigma.model.randomness import with_own_randomness

__all__ = ["Batch", "first_batch", "iterate_batches", "tensors_in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one call of the model needs: `model(*args, **kwargs)`, and what its loss compares with.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments, labels included (a Hugging Face model computes its own loss from them).
        targets: What the loss compares the output with; None without.
        num_samples: Rows of the batch.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    targets: Any = None
    num_samples: int = 0

    def owned_by(self, model: nn.Module) -> "Batch":
        """A copy on the model's device, so that a forward pass that writes into its input spoils nobody's data."""
        tensors = chain(model.parameters(), model.buffers(), tensors_in((self.args, self.kwargs)))
        device = next((tensor.device for tensor in tensors), None)
        args, kwargs, targets = (_mapped(part, device=device) for part in (self.args, dict(self.kwargs), self.targets))
        return replace(self, args=args, kwargs=kwargs, targets=targets)


def iterate_batches(batches: "Batches | Batch", *, limit: int | None = None) -> Iterator[Batch]:
    """Every batch in `batches`, one at a time; never more than `limit` are drawn from an iterator.

    How each form is read:

    * a tensor or array: the inputs of one batch;
    * a mapping: keyword inputs, `model(**batch)`;
    * a tuple: `(inputs,)`, `(inputs, targets)`, or `(first, second, …, targets)`; inputs that are themselves a tuple
      or list are several arguments, inputs that are a mapping are keyword arguments;
    * anything else that can be iterated, a *list* too: an iterable of batches. In there a list is a batch, since that
      is what a `DataLoader` yields. So `(x, y)` is inputs with targets, and `[x, y]` two batches without. What a loader
      draws at random does not move the caller's generators.

    Raises:
        BatchError: There is no batch, or one that no model can be fed with.

    Example:
        >>> import torch
        >>> [batch.num_samples for batch in iterate_batches([torch.zeros(4, 2), torch.zeros(3, 2)])]
        [4, 3]
    """
    count = 0
    for count, item in enumerate(islice(_items(batches), limit), start=1):
        yield _batch(item, where=f"batch {count - 1}")
    if not count and limit != 0:
        raise BatchError("The batches are empty: at least one batch is needed, and the iterable yielded none.")


def first_batch(batches: "Batches | Batch") -> Batch:
    """The first batch; an iterator is advanced by one.

    Raises:
        BatchError: There is no batch, or one that no model can be fed with.
    """
    return next(iterate_batches(batches, limit=1))


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor inside nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(tensors_in, value.values()))
    elif isinstance(value, (tuple, list, set, frozenset)):
        yield from chain.from_iterable(map(tensors_in, value))
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        yield from chain.from_iterable(tensors_in(getattr(value, name, None)) for name in value.__dataclass_fields__)


def _items(batches: Any) -> Iterable[Any]:
    if isinstance(batches, (torch.Tensor, np.ndarray, Mapping, tuple, Batch)):
        return (batches,)
    if isinstance(batches, Dataset):
        raise BatchError(
            f"A {type(batches).__name__} yields samples, not batches; wrap it: DataLoader(dataset, batch_size=64)."
        )
    if isinstance(batches, (str, bytes)) or not isinstance(batches, Iterable):
        raise BatchError(
            f"Batches must be tensors, tuples, mappings or an iterable of them, got {_described(batches)}."
        )
    return batches if isinstance(batches, list) else with_own_randomness(batches)


def _batch(item: Any, *, where: str) -> Batch:
    if isinstance(item, Batch):
        return item
    inputs, targets = _split(item)
    args, kwargs = _arguments(inputs)
    for value in (*args, *kwargs.values(), *([] if targets is None else [targets])):
        _check(value, where=where)
    batch = Batch(args=_converted(args), kwargs=_converted(kwargs), targets=_converted(targets))
    return replace(batch, num_samples=_num_samples(batch, where=where))


def _split(item: Any) -> tuple[Any, Any]:
    """Inputs and targets of one item."""
    if isinstance(item, (tuple, list)) and not isinstance(item, PackedSequence):
        if len(item) <= 1:
            return (item[0] if item else ()), None
        return (item[0] if len(item) == 2 else tuple(item[:-1])), item[-1]
    return item, None


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
        return tuple(inputs), {}
    return (inputs,), {}


def _check(value: Any, *, where: str) -> None:
    if isinstance(value, (str, bytes)):
        raise BatchError(
            f"{where}: a model is fed with tensors, got {_described(value)}; encode text as numbers first."
        )
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUSMm":
        raise BatchError(f"{where}: an array of dtype {value.dtype} holds no numbers; encode it as numbers first.")


def _converted(value: Any) -> Any:
    """NumPy arrays as tensors of their own memory's copy; everything else as it is."""
    return _mapped(value, device=None) if _has_arrays(value) else value


def _has_arrays(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_arrays, value.values()))
    if isinstance(value, (tuple, list)):
        return any(map(_has_arrays, value))
    return isinstance(value, (np.ndarray, np.generic))


def _mapped(value: Any, *, device: torch.device | None) -> Any:
    """`value` with every tensor and array in it copied to `device`."""
    if isinstance(value, (np.ndarray, np.generic)):
        # NumPy's default is float64, torch's is not: a table of float64 columns is meant for a float32 model.
        array = torch.tensor(np.asarray(value))
        return array.to(torch.get_default_dtype()) if array.dtype == torch.float64 else array
    if isinstance(value, PackedSequence):
        return value if device is None else value.to(device)  # type: ignore[arg-type]
    if isinstance(value, torch.Tensor):
        return _owned(value, device=device)
    if isinstance(value, Mapping):
        return {name: _mapped(part, device=device) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_mapped(part, device=device) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _owned(value: torch.Tensor, *, device: torch.device | None) -> torch.Tensor:
    if device is None:
        return value
    copy = value.detach().to(device, copy=True)
    return copy.requires_grad_(value.requires_grad)


def _num_samples(batch: Batch, *, where: str) -> int:
    inputs = [tensor for tensor in tensors_in((batch.args, batch.kwargs)) if tensor.dim()]
    if not inputs:
        return 0
    if any(tensor.numel() == 0 and tensor.shape[0] == 0 for tensor in inputs):
        raise BatchError(f"{where} has no rows: its inputs have shape {tuple(inputs[0].shape)}.")
    rows = inputs[0].shape[0]
    targets = next((tensor for tensor in tensors_in(batch.targets) if tensor.dim()), None)
    if targets is None or targets.shape[0] == rows:
        return rows
    return _rows_beside(inputs[0], targets=targets, where=where)


def _rows_beside(inputs: torch.Tensor, *, targets: torch.Tensor, where: str) -> int:
    """Rows where inputs and targets differ along axis 0: time-major inputs, or targets with positions flattened."""
    rows, others = targets.shape[0], inputs.shape[1:]
    if others and others[0] == rows:
        return rows
    if others and rows == inputs.shape[0] * others[0]:
        return inputs.shape[0]
    raise BatchError(
        f"{where}: inputs have {inputs.shape[0]} rows and targets {rows} (shapes {tuple(inputs.shape)} and "
        f"{tuple(targets.shape)}); they must have the same number of rows."
    )


def _described(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"

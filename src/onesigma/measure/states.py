"""A state_dict, measured without a model: what can be told of weights and running statistics that lie on a disk."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from onesigma._errors import ModelError
from onesigma.model.signals import Ledger
from onesigma.model.trace import ParameterRecord, Signal, Trace

__all__ = ["measure_state", "tensors_of_state"]

# What people call the weights, or one of several sets of them, among the other things that they save.
_USUAL = ("state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights", "ema")


def measure_state(state: Mapping[str, Any] | Iterable[tuple[str, torch.Tensor]], *, name: str = "state_dict") -> Trace:
    """A trace of parameters alone, in the order of the state; nothing is run and no gradient is known.

    Rows are compared by their weights only. Tensors of integers are left out, but for `num_batches_tracked`, and so are
    masks of zero and minus infinity.

    Args:
        state: A state_dict, what was saved around one, or pairs of name and tensor.
        name: How the trace calls it.

    Raises:
        ModelError: There is no tensor in it that can be judged.

    Example:
        >>> from torch import nn
        >>> trace = measure_state(nn.Linear(3, 2).state_dict())
        >>> [parameter.name for parameter in trace.parameters], trace.records
        (['weight', 'bias'], ())
    """
    pairs = tensors_of_state(state).items() if isinstance(state, Mapping) else state
    kinds: Counter[str] = Counter()
    records = []
    for key, tensor in pairs:
        kinds["meta" if tensor.is_meta else str(tensor.dtype).removeprefix("torch.")] += 1
        if (record := _record(key, tensor)) is not None:
            records.append(record)
    if not records:
        held = ", ".join(f"{count} of {kind}" for kind, count in kinds.items()) or "none"
        raise ModelError(
            f"{name}: no tensor in it can be judged ({held}): wanted floating-point values; quantized integers need "
            "their scales, so save the weights before they are quantized, too."
        )
    return Trace(model=name, parameters=tuple(records), training=False)


def tensors_of_state(state: Mapping[Any, Any]) -> Mapping[str, torch.Tensor]:
    """The tensors by name: of the mapping itself, or of the mappings in it that look like a model's.

    Of several, as of a generator and a discriminator, each has its key before its names. What an optimizer keeps is
    left out.

    Raises:
        ModelError: There is no tensor in it, but for those of an optimizer.

    Example:
        >>> linear = torch.nn.Linear(2, 1).state_dict()
        >>> list(tensors_of_state({"state_dict": linear, "epoch": 3}))
        ['weight', 'bias']
        >>> list(tensors_of_state({"teacher": linear, "student": linear}))
        ['teacher.weight', 'teacher.bias', 'student.weight', 'student.bias']
    """
    found = list(_levels(state, depth=3))
    if not found:
        optimizer = "an optimizer's state, and " if _is_optimizer(state) else ""
        raise ModelError(
            f"The state holds {optimizer}no tensor by name; wanted model.state_dict(), got the keys {_keys(state)}."
        )
    chosen = [each for each in found if not each[0] or each[0][-1] in _USUAL] or found
    if len(chosen) == 1:
        return chosen[0][1]
    return {".".join((*path, name)): tensor for path, tensors in chosen for name, tensor in tensors.items()}


def _is_optimizer(value: Mapping[Any, Any]) -> bool:
    return "param_groups" in value and "state" in value


def _levels(
    value: Any, *, depth: int, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """Where tensors lie by name in nested mappings: the keys that lead there, and the tensors."""
    if not isinstance(value, Mapping) or _is_optimizer(value):
        return
    named = {name: part for name, part in value.items() if isinstance(name, str) and isinstance(part, torch.Tensor)}
    if named:
        yield path, named
    for name, part in value.items() if depth else ():
        yield from _levels(part, depth=depth - 1, path=(*path, str(name)))


def _keys(state: Mapping[Any, Any]) -> str:
    names = [repr(key)[:40] for key in list(state)[:5]]
    return f"{', '.join(names)} …" if len(state) > 5 else ", ".join(names) or "of an empty mapping"


def _record(name: str, tensor: torch.Tensor) -> ParameterRecord | None:
    if tensor.device.type == "meta" or not tensor.numel():
        return None
    with torch.no_grad():
        values = tensor.detach()
        values = values.dequantize() if values.is_quantized else values
        values = values.to_dense() if values.layout != torch.strided else values
        if name.endswith("num_batches_tracked"):
            return _counter(name, int(values.reshape(-1)[0]))
        if not (values.is_floating_point() or values.is_complex()):
            return None
        # Narrow floats have hardly any arithmetic of their own.
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values
        if _is_mask(values):
            return None
        ledger = Ledger()
        slot = ledger.add(values)
        ledger.collect()
        record = ParameterRecord(
            name=name, shape=tuple(tensor.shape), value=ledger.moments(slot).signal(), trainable=False
        )
        return _with_rows(record, values) if values.dim() > 1 and values.is_floating_point() else record


def _counter(name: str, count: int) -> ParameterRecord:
    value = Signal(count=1, mean=count, std=0.0, rms=abs(count), minimum=count, maximum=count)
    return ParameterRecord(name=name, shape=(), value=value, trainable=False)


def _is_mask(values: torch.Tensor) -> bool:
    """Zero where attention may look and −inf where it may not."""
    if not values.is_floating_point() or not bool(torch.isneginf(values).any()):
        return False
    return bool(((values == 0) | torch.isneginf(values)).all())


def _with_rows(record: ParameterRecord, values: torch.Tensor) -> ParameterRecord:
    rows = values.reshape(values.shape[0], -1)
    low, high = rows.amin(1), rows.amax(1)
    is_zero = (low == 0) & (high == 0)
    is_constant = (low == high) & ~is_zero & (rows.shape[1] > 1)
    # Rows of zeros are their own case: a gate that starts shut, a unit that was pruned.
    twins = _duplicates(rows[~is_zero]) / len(rows)
    return replace(
        record,
        duplicate_rows=twins,
        equal_rows=twins,
        constant_rows=int(is_constant.sum()) / len(rows),
        zero_rows=int(is_zero.sum()) / len(rows),
    )


def _duplicates(rows: torch.Tensor) -> int:
    """How many rows have a twin. Sums come first: rows that differ there need no second look."""
    _, place, count = torch.unique(rows.sum(1), return_inverse=True, return_counts=True)
    suspects = rows[count[place] > 1]
    if not len(suspects):
        return 0
    _, count = torch.unique(suspects, dim=0, return_counts=True)
    return int(count[count > 1].sum())

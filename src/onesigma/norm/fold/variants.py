"""The first batch in other forms: what holds for one batch alone is no fold."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from onesigma.model.batches import Batch

__all__ = ["doubled", "variants_of"]

# A copy beside the original must not be equal to it: the maximum of two equal values is that of one.
_COPIES = (1.0, -0.7, 0.4)


def doubled(batch: Batch) -> Batch:
    """The batch with every floating tensor in float64."""
    return _mapped_batch(batch, _only_floats(Tensor.double))


def variants_of(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The batch with its sign turned, and in other shapes, each with a word for it; not all of them suit every model.

    A model that branches on its data may take another branch. And a max pool over a single value, a sum over one
    position, a padding of width 0 let through what they would not at another size.
    """
    rows = batch.num_samples

    def first_row(x: Tensor) -> Tensor:
        return x[:1] if x.dim() and x.shape[0] == rows else x

    yield "with its sign turned", _mapped_batch(batch, _only_floats(torch.neg))
    if rows > 1:
        yield "with a single row", _mapped_batch(batch, first_row)
    else:
        yield "with more rows", _mapped_batch(batch, lambda x: _grown(x, axes=range(min(x.dim(), 1))))
    yield "of another size", _mapped_batch(batch, lambda x: _grown(first_row(x), axes=range(2, x.dim())))
    yield "of another length", _mapped_batch(batch, lambda x: _grown(first_row(x), axes=_positions(x)))


def _positions(x: Tensor) -> range:
    """The axes between rows and features; tokens have no features."""
    return range(1, x.dim() - 1 if x.is_floating_point() else x.dim())


def _grown(x: Tensor, *, axes: range) -> Tensor:
    """Along every axis 2·L + 1 long in place of L, so that odd becomes even too."""
    for axis in axes:
        copies = [x * factor for factor in _COPIES] if x.is_floating_point() else [x] * len(_COPIES)
        x = torch.cat(copies, dim=axis).narrow(axis, 0, min(2 * x.shape[axis] + 1, len(_COPIES) * x.shape[axis]))
    return x


def _only_floats(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x) if x.is_floating_point() else x


def _mapped_batch(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    return replace(batch, args=_mapped(batch.args, function), kwargs=_mapped(dict(batch.kwargs), function))


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """`value` with `function` of every tensor in it."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: _mapped(part, function) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_mapped(part, function) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value

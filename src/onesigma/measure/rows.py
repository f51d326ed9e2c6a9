"""Some rows of a batch: what goes in, what came out, and what they cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from onesigma.model.batches import Batch, tensors_in
from onesigma.model.ops import bound_arguments, op_of

__all__ = ["LastRow", "LossCall", "is_table", "last_row", "mapped", "rows_of", "tables_in"]

# What the last row became in some pass: per tensor of the output.
LastRow = tuple[torch.Tensor, ...]


def rows_of(batch: Batch, chosen: list[int]) -> Batch:
    """These rows as a batch of their own.

    Raises:
        TypeError: It holds something that cannot be made anew.
    """
    args, kwargs, targets = (
        mapped(part, lambda tensor: tensor[chosen]) for part in (batch.args, dict(batch.kwargs), batch.targets)
    )
    return replace(batch, args=args, kwargs=kwargs, targets=targets, num_samples=len(chosen))


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`value` with every tensor of rows changed.

    Raises:
        TypeError: It holds something that cannot be made anew.
    """
    if isinstance(value, torch.Tensor):
        return change(value) if value.dim() else value
    if isinstance(value, Mapping) and type(value) is dict:
        return {name: mapped(part, change) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [mapped(part, change) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if next(tensors_in(value), None) is not None:
        raise TypeError(f"{type(value).__name__} cannot be taken apart")
    return value


def is_table(tensor: torch.Tensor, *, num_rows: int) -> bool:
    """It holds a row of real numbers per row of the batch."""
    is_plain = tensor.layout == torch.strided and tensor.is_floating_point() and tensor.dim() > 0
    return is_plain and tensor.shape[0] == num_rows and tensor.numel() > 0


def tables_in(output: Any, *, num_rows: int) -> Iterator[torch.Tensor]:
    """The tensors of an output that are tables."""
    return (tensor for tensor in tensors_in(output) if is_table(tensor, num_rows=num_rows))


def last_row(output: Any, *, num_rows: int) -> LastRow:
    """A copy of the last row of every table."""
    return tuple(tensor[-1].detach().clone() for tensor in tables_in(output, num_rows=num_rows))


class LossCall(TorchFunctionMode):
    """Keeps the last loss of torch that was computed, so that it can be computed of other rows."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Callable[..., Any], dict[str, Any], Any] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output, op = func(*args, **(kwargs or {})), op_of(func)
        if op is not None and op.kind == "loss":
            self._last = func, bound_arguments(op, args, kwargs or {}), output
        return output

    def of_rows(
        self, rows: list[int], *, num_rows: int, value: torch.Tensor, given: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """What made `value`, of these rows; None if it was anything but one loss of inputs and targets.

        Of a sequence model the loss mostly gets a table of all tokens, in which a row is a stretch of tokens. With
        `given`, that stands in for the inputs.
        """
        tables = self._tables(value)
        if tables is None or self._last is None:
            return None
        if given is not None:
            tables["input"] = given.reshape(tables["input"].shape)
        if len(tables["input"]) % num_rows:
            return None
        function, arguments, _ = self._last
        stretches = {name: part.reshape(num_rows, -1, *part.shape[1:])[rows] for name, part in tables.items()}
        chosen = {name: part.flatten(0, 1) for name, part in stretches.items()}
        made: torch.Tensor = function(**{**arguments, **chosen})
        return made

    def input_of(self, value: torch.Tensor) -> torch.Tensor | None:
        """What `of_rows` takes rows of."""
        tables = self._tables(value)
        return None if tables is None else tables["input"]

    def _tables(self, value: torch.Tensor) -> dict[str, torch.Tensor] | None:
        if self._last is None or self._last[2] is not value:
            return None
        tables = {name: part for name, part in self._last[1].items() if isinstance(part, torch.Tensor)}
        if set(tables) != {"input", "target"} or len({part.shape[:1] for part in tables.values()}) > 1:
            return None
        return tables

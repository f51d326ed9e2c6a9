"""Any verb on all ranks at once: the joined batch, the whole model, one result."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from onesigma._errors import BatchError
from onesigma._typing import Batches
from onesigma.model.batches import Batch, iterate_batches, tensors_in
from onesigma.model.edits import Edits
from onesigma.model.names import tensor_names, unwrapped
from onesigma.model.ranks import exchanged, meeting
from onesigma.model.state import random_state_preserved
from onesigma.model.twin import plain_twin, write_back_

__all__ = ["group_of", "is_on_ranks", "on_ranks"]

R = TypeVar("R")


def on_ranks(
    function: Callable[..., R],
    model: nn.Module,
    batches: Batches,
    *,
    group: Any = None,
    every: bool = False,
    **options: Any,
) -> R:
    """Call `measure`, `check`, `initialize_` or `norm.calibrate_` as one process would on the data of all ranks.

    Each rank gives its model (under DDP, FSDP2 or with DTensors) and its own batches; all must call. The batches are
    gathered, joined in order of rank, and every rank does the same work on a plain twin of the whole model, with the
    random state of rank 0. So the result is that of one process on the joined batch, bit for bit, with statistics of
    batch norms and across samples that no merging could give. What a verb changes in place is written back, to each
    rank its shard. A rank may have more rows than another, or none.

    The price: each rank holds the whole model and runs the joined batch. A few hundred rows tell the scale of a layer.

    Args:
        function: Takes `(model, batches, **options)`.
        model: The rank's model. Only values of its parameters and buffers can be changed.
        batches: The rank's data; the first batch is taken. An empty list or tensor for none.
        group: The process group; the default one if None.
        every: Take every batch of every rank, and give them one by one: for `calibrate_`, and `measure` of many.
        options: Of the function.

    Returns:
        What the function returns; `Edits` undo on each rank what was written there.

    Raises:
        EngineError: Another rank raised, or did not come before the time-out of the group; nothing was changed.
        BatchError: No rank has a batch, or they cannot be joined.
        ConfigError: There is no process group.
    """
    held = exchanged(lambda: (_batches_of(batches, every=every), torch.get_rng_state()), group=group)
    parts = [batch for part, _ in held for batch in part]
    with meeting():
        twin = plain_twin(model)
    before = {name: value.clone() for name, value in tensor_names(twin).items()}

    def act() -> tuple[R, list[str]]:
        with random_state_preserved():
            torch.set_rng_state(held[0][1])
            result = function(twin, parts if every else _joined(parts), **options)
        return result, _changed(before, tensor_names(twin))

    own: list[R] = []

    def acted() -> list[str]:
        result, changed = act()
        own.append(result)
        return changed

    names = sorted(set().union(*exchanged(acted, group=group)))
    if not names:
        return own[0]
    undo = write_back_(unwrapped(model), _of_rank_0(twin, names, group=group))
    if isinstance(own[0], Edits):
        return Edits(own[0].items, (undo,))  # type: ignore[return-value]
    return own[0]


def is_on_ranks(model: nn.Module) -> bool:
    """Several ranks hold this model together: under DDP, FSDP2, or with DTensors.

    Example:
        >>> is_on_ranks(nn.Linear(2, 2))
        False
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group_of(model)) < 2:
        return False
    return _is_replicated(model) or any(hasattr(parameter, "device_mesh") for parameter in model.parameters())


def group_of(model: nn.Module) -> Any:
    """The ranks that DDP keeps equal; None for all."""
    return model.process_group if _is_replicated(model) else None


def _is_replicated(model: nn.Module) -> bool:
    return type(model).__name__ == "DistributedDataParallel"


def _batches_of(batches: Any, *, every: bool) -> list[Batch]:
    if not _has_rows(batches):
        return []
    return [batch.owned_by(nn.Module()) for batch in iterate_batches(batches, limit=None if every else 1)]


def _has_rows(batches: Any) -> bool:
    if hasattr(batches, "__len__") and not len(batches):
        return False
    first = next(tensors_in(batches), None) if isinstance(batches, torch.Tensor | tuple | dict) else None
    return first is None or not first.dim() or len(first) > 0


def _joined(parts: Sequence[Batch]) -> Batch:
    """One batch of the rows of all."""
    if not parts:
        raise BatchError("The batches of all ranks are empty: at least one rank must have one.")
    return Batch(
        args=_cat([part.args for part in parts]),
        kwargs=_cat([dict(part.kwargs) for part in parts]),
        targets=_cat([part.targets for part in parts]),
        num_samples=sum(part.num_samples for part in parts),
    )


def _cat(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        try:
            return torch.cat(list(values)) if first.dim() else first
        except (RuntimeError, TypeError) as error:
            raise BatchError(f"The batches of the ranks cannot be joined along axis 0: {error}") from error
    if isinstance(first, dict):
        return {key: _cat([value[key] for value in values]) for key in first}
    if isinstance(first, tuple | list):
        parts = [_cat(list(column)) for column in zip(*values, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return first


def _changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in after.items() if not torch.equal(value, before[name])]


def _of_rank_0(twin: nn.Module, names: Sequence[str], *, group: Any) -> dict[str, torch.Tensor]:
    """The values that rank 0 came to: other machines may round elsewhere."""
    tensors, source = tensor_names(twin), 0 if group is None else dist.get_global_rank(group, 0)
    values = {name: tensors[name].detach().clone() for name in names}
    with meeting():
        for value in values.values():
            dist.broadcast(value, src=source, group=group)
    return values

"""`accumulated`: running statistics of the whole batch, where gradients are accumulated over parts of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onesigma._errors import ConfigError
from onesigma.model.names import unwrapped
from onesigma.norm.channels import Channels, as_table
from onesigma.norm.controls import hooks_run, is_lent, lent
from onesigma.norm.running import move_
from onesigma.norm.statistics import BatchNorm, batch_norms

__all__ = ["accumulated"]


@contextmanager
def accumulated(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[list[str]]:
    """While open, running statistics move once per step of the optimizer, by all training passes since the last.

    mean and variance are those of the values of all passes together, their sums exact, and momentum is applied once;
    so k micro-batches leave what one batch of the same values leaves, in whatever way they are cut. Passes that
    gradient checkpointing repeats count once. What no step follows counts for nothing, and passes with values that are
    not finite leave a layer as it was.

    What a layer gives in training is still normalized by the micro-batch, and so is what later layers are fed with. To
    normalize by the whole batch would need every micro-batch at once, layer by layer.

    Raises:
        ConfigError: The model synchronizes its statistics over several ranks.

    Yields:
        A list of the layers that refused a batch with values that are not finite, one entry each time.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with accumulated(model, optimizer):
        ...     for part in (torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])):
        ...         model(part).sum().backward()
        ...     optimizer.step()
        >>> round(model[0].running_mean.item(), 6), int(model[0].num_batches_tracked)  # 0.1 · mean of 1, 3, 5, 7
        (0.4, 1)
    """
    norms = {name: norm for name, norm in batch_norms(unwrapped(model)).items() if norm.running_mean is not None}
    _refuse_ranks(norms)
    found: dict[str, Channels] = {}
    refusals: list[str] = []

    def adder(name: str) -> Callable[[Tensor], None]:
        return lambda table: found.setdefault(name, Channels()).add(table)

    def move(*_: Any) -> None:
        for name, channels in found.items():
            if not _move(norms[name], channels):
                refusals.append(name)
        found.clear()

    with hooks_run(model), ExitStack() as stack:
        for name, norm in norms.items():
            stack.callback(_watched(norm, adder(name)))
        stack.callback(optimizer.register_step_post_hook(move).remove)
        yield refusals


def _refuse_ranks(norms: Mapping[str, BatchNorm]) -> None:
    synchronized = [name for name, norm in norms.items() if isinstance(norm, nn.SyncBatchNorm)]
    if synchronized and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        raise ConfigError(
            f"accumulated: {synchronized[0]!r} takes its statistics over {dist.get_world_size()} ranks, which are not "
            "merged over micro-batches; use once_per_step, or plain_ layers."
        )


def _move(norm: BatchNorm, channels: Channels) -> bool:
    """Move the running statistics by one batch; False where it is not finite."""
    moments = channels.moments()
    like = norm.running_mean
    assert like is not None
    mean, variance = ([each.mean for each in moments], [each.variance() for each in moments])
    values = torch.tensor([mean, variance], dtype=torch.float64, device=like.device)
    skipped = any(each.nans or each.pos_infs or each.neg_infs for each in moments)
    if skipped or not bool(values.to(like.dtype).isfinite().all()):
        return False
    move_(norm, mean=values[0], variance=values[1], count=moments[0].count)
    return True


def _watched(norm: BatchNorm, add: Callable[[Tensor], None]) -> Callable[[], None]:
    """Let `add` have what the layer normalizes in training, and its buffers stand still; return the way back."""
    seeing: list[ExitStack] = []

    def look(module: nn.Module, _: Any) -> None:
        seeing.append(ExitStack())
        if module is norm and norm.training and not is_lent(norm) and not _is_repeated():
            seeing[-1].enter_context(_Inputs(norm, add))

    def look_away(*_: Any) -> None:
        if seeing:
            seeing.pop().close()

    steps = (
        norm.register_forward_pre_hook(look).remove,
        lent(norm),
        norm.register_forward_hook(look_away, prepend=True, always_call=True).remove,
    )

    def remove() -> None:
        for step in steps:
            step()
        while seeing:  # torch calls no hook after Ctrl-C
            seeing.pop().close()

    return remove


def _is_repeated() -> bool:
    """Whether a pass is run by the backward pass, as gradient checkpointing does."""
    return torch._C._current_graph_task_id() != -1


class _Inputs(TorchFunctionMode):
    """While active, `add` gets what a layer normalizes, wherever its own buffers are written to."""

    def __init__(self, norm: BatchNorm, add: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.norm, self.add = norm, add

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.batch_norm, torch.batch_norm_update_stats):
            running = kwargs.get("running_mean", args[1] if len(args) > 1 else None)
            if running is self.norm.running_mean:
                self.add(as_table(kwargs.get("input", args[0] if args else None)))
        return func(*args, **kwargs)

"""When running statistics move: not at all, once per optimizer step, or never to NaN. Context managers that nest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from onesigma.model.names import unwrapped
from onesigma.norm.statistics import BatchNorm, batch_norms

__all__ = ["nonfinite_vetoed", "once_per_step", "paused"]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@contextmanager
def paused(model: nn.Module) -> Iterator[None]:
    """While open, passes in training mode normalize by the batch and move no running statistics, nor a counter.

    For passes that are not steps: the second of SAM, the discriminator's on fakes, a learning-rate finder, a count of
    FLOPs. Neither momentum nor mode is touched, so nothing has to be put back there.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with paused(norm):
        ...     _ = norm(torch.randn(8, 2))
        >>> norm.running_mean.tolist(), int(norm.num_batches_tracked)
        ([0.0, 0.0], 0)
    """
    release = _pause(model)
    try:
        yield
    finally:
        release()


@contextmanager
def once_per_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """While open, running statistics move in the first training pass after each step of the optimizer, in no other.

    So gradient checkpointing, which runs layers again, counts once; so does SAM, and of several micro-batches the
    first. A pass is one call of `model`, in which a layer may run several times.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with once_per_step(model, optimizer):
        ...     for _ in range(4):
        ...         model(torch.randn(8, 2)).sum().backward()
        ...     optimizer.step()
        >>> int(model[1].num_batches_tracked)
        1
    """
    releases: list[Callable[[], None]] = []

    def pause(module: nn.Module, *_: Any) -> None:
        if module.training and not releases:
            releases.append(_pause(module))

    def release(*_: Any) -> None:
        while releases:
            releases.pop()()

    module = unwrapped(model)
    with ExitStack() as stack:
        stack.callback(release)
        stack.callback(module.register_forward_hook(pause).remove)
        stack.callback(optimizer.register_step_post_hook(release).remove)
        yield


@contextmanager
def nonfinite_vetoed(model: nn.Module) -> Iterator[list[str]]:
    """While open, a batch that would make running statistics NaN or infinite leaves them and the counter as they were.

    Yields:
        A list of the layers that refused a batch, one entry each time.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with nonfinite_vetoed(norm) as refusals:
        ...     _ = norm(torch.tensor([[1.0], [float("inf")]]))
        >>> norm.running_mean.item(), norm.running_var.item(), refusals
        (0.0, 1.0, [''])
    """
    refusals: list[str] = []
    with ExitStack() as stack:
        for name, norm in batch_norms(unwrapped(model)).items():
            if norm.running_mean is not None:
                stack.callback(_veto(name, norm, refusals))
        yield refusals


def _pause(model: nn.Module) -> Callable[[], None]:
    """Stop the updates; return what lets them go on."""
    norms = [norm for norm in batch_norms(unwrapped(model)).values() if norm.running_mean is not None]
    steps = [_on_copies(norm) for norm in norms]

    def release() -> None:
        for step in steps:
            step()

    return release


def _on_copies(norm: BatchNorm) -> Callable[[], None]:
    """Let each pass write into copies of the buffers, which are dropped after it.

    Without buffers at all, a layer would save fewer tensors for the backward pass, which checkpointing does not allow.
    """
    saved: list[dict[str, torch.Tensor | None]] = []

    def lend(module: nn.Module, _: Any) -> None:
        saved.append({name: module._buffers[name] for name in _BUFFERS})
        module._buffers.update({name: None if value is None else value.clone() for name, value in saved[-1].items()})

    def take_back(module: nn.Module, *_: Any) -> None:
        if saved:
            module._buffers.update(saved.pop())

    # First in, last out: of two that are open, the inner one takes its copies back first.
    handles = (
        norm.register_forward_pre_hook(lend),
        norm.register_forward_hook(take_back, prepend=True, always_call=True),
    )

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove


def _veto(name: str, norm: BatchNorm, refusals: list[str]) -> Callable[[], None]:
    saved: list[torch.Tensor] = []

    def keep(module: nn.Module, _: Any) -> None:
        saved[:] = [getattr(module, key).clone() for key in _BUFFERS if getattr(module, key) is not None]

    def judge(module: nn.Module, *_: Any) -> None:
        kept = [getattr(module, key) for key in _BUFFERS if getattr(module, key) is not None]
        was_finite = all(bool(each.isfinite().all()) for each in saved)
        if was_finite and not all(bool(each.isfinite().all()) for each in kept):
            refusals.append(name)
            with torch.no_grad():
                for buffer, value in zip(kept, saved, strict=True):
                    buffer.copy_(value)

    handles = (norm.register_forward_pre_hook(keep), norm.register_forward_hook(judge))

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove

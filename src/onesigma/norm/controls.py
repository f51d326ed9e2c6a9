"""When running statistics move: not at all, once per optimizer step, or never to NaN. Context managers that nest.

While one is open, a compiled model runs as it is written.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from onesigma.model.names import unwrapped
from onesigma.norm.statistics import BatchNorm, batch_norms

__all__ = ["hooks_run", "is_lent", "lent", "nonfinite_vetoed", "once_per_step", "paused", "revertible"]

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
    with hooks_run(model), ExitStack() as stack:
        stack.callback(_pause(model))
        yield


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

    def pause(found: nn.Module, *_: Any) -> None:
        if found is module and module.training and not releases:
            releases.append(_pause(module))

    def release(*_: Any) -> None:
        while releases:
            releases.pop()()

    module = unwrapped(model)
    with hooks_run(model), ExitStack() as stack:
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
    with hooks_run(model), ExitStack() as stack:
        for name, norm in batch_norms(unwrapped(model)).items():
            if norm.running_mean is not None:
                stack.callback(_veto(name, norm, refusals))
        yield refusals


@contextmanager
def revertible(model: nn.Module) -> Iterator[Callable[[], None]]:
    """While open, running statistics and counters can be put back to what they were; they are where the block raises.

    For steps that are found out to be none: a loss that is not finite, a gradient scaler that skips.

    Yields:
        A function that puts them back, as often as it is called.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with revertible(norm) as revert:
        ...     loss = norm(torch.tensor([[1.0], [float("inf")]])).sum()
        ...     if not loss.isfinite():
        ...         revert()
        >>> norm.running_mean.item(), int(norm.num_batches_tracked)
        (0.0, 0)
    """
    norms = batch_norms(unwrapped(model)).values()
    saved = [(buffer, buffer.clone()) for norm in norms for buffer in _kept(norm)]

    def revert() -> None:
        with torch.no_grad():
            for buffer, value in saved:
                buffer.copy_(value)

    try:
        yield revert
    except BaseException:
        revert()
        raise


def _kept(norm: nn.Module) -> list[torch.Tensor]:
    return [buffer for key in _BUFFERS if (buffer := norm._buffers.get(key)) is not None]


@contextmanager
def hooks_run(model: nn.Module) -> Iterator[None]:
    """While open, compiled modules run as they are written: compiled code does not look for hooks that came later."""
    with ExitStack() as stack:
        for module in model.modules():
            written = module._modules.get("_orig_mod")
            if written is not None:
                stack.callback(module.__dict__.__setitem__, "forward", module.__dict__["forward"])
                module.__dict__["forward"] = written.__call__
            if module.__dict__.get("_compiled_call_impl") is not None:
                stack.callback(module.__dict__.__setitem__, "_compiled_call_impl", module._compiled_call_impl)
                module._compiled_call_impl = None
        yield


def _pause(model: nn.Module) -> Callable[[], None]:
    """Stop the updates; return what lets them go on."""
    norms = [norm for norm in batch_norms(unwrapped(model)).values() if norm.running_mean is not None]
    steps = [lent(norm, outermost=True) for norm in norms]

    def release() -> None:
        for step in steps:
            step()

    return release


def lent(norm: BatchNorm, *, outermost: bool = False) -> Callable[[], None]:
    """Let each pass write into copies of the buffers, which are dropped after it; return what ends that.

    Without buffers at all, a layer would save fewer tensors for the backward pass, which checkpointing does not allow.
    What is lent by the outermost hooks is what all others see.
    """
    saved: list[dict[str, torch.Tensor | None]] = []

    def lend(module: nn.Module, _: Any) -> None:
        if module is norm:  # and not a copy of it, which has the hook too
            saved.append({name: module._buffers[name] for name in _BUFFERS})
            module._buffers.update({name: _copied(value) for name, value in saved[-1].items()})

    def take_back(module: nn.Module, *_: Any) -> None:
        if module is norm and saved:
            module._buffers.update(saved.pop())

    # First in, last out, whichever hooks were registered first.
    handles = (
        norm.register_forward_pre_hook(lend, prepend=outermost),
        norm.register_forward_hook(take_back, prepend=not outermost, always_call=True),
    )

    def remove() -> None:
        for handle in handles:
            handle.remove()
        if saved:  # torch calls no hook after Ctrl-C
            norm._buffers.update({name: value for name, value in saved[0].items() if not hasattr(value, "is_lent")})
            saved.clear()

    return remove


def is_lent(norm: nn.Module) -> bool:
    """Whether the buffers of a layer that runs are copies, so that the pass counts for nothing."""
    return hasattr(norm._buffers["running_mean"], "is_lent")


def _copied(buffer: torch.Tensor | None) -> Any:
    copy: Any = None if buffer is None else buffer.clone()
    if copy is not None:
        copy.is_lent = True
    return copy


def _veto(name: str, norm: BatchNorm, refusals: list[str]) -> Callable[[], None]:
    saved: list[torch.Tensor] = []

    def keep(module: nn.Module, _: Any) -> None:
        saved.clear()
        if module is norm and not is_lent(norm):
            saved.extend(buffer.clone() for buffer in _kept(norm))

    def judge(module: nn.Module, *_: Any) -> None:
        kept = _kept(norm)
        was_finite = all(bool(each.isfinite().all()) for each in saved)
        if module is norm and saved and was_finite and not all(bool(each.isfinite().all()) for each in kept):
            refusals.append(name)
            with torch.no_grad():
                for buffer, value in zip(kept, saved, strict=True):
                    buffer.copy_(value)

    handles = (norm.register_forward_pre_hook(keep), norm.register_forward_hook(judge))

    def remove() -> None:
        for handle in handles:
            handle.remove()

    return remove

"""Buffers that lost their values: memory that `to_empty` made anew and nobody filled again."""

from collections.abc import Iterator

import torch
from torch import nn

from onesigma.init.history import History
from onesigma.init.misfit import Misfit
from onesigma.model.names import module_names

__all__ = ["wiped_buffers"]

# No table of positions, counts or indices reaches this; what stood in the memory before does.
_LARGEST_INTEGER = 2**40
# Some underflow in a table of decays is in order; one value in ten that is neither zero nor normal is no table.
_DENORMAL_SHARE = 0.1


def wiped_buffers(model: nn.Module, history: History | None = None) -> Iterator[Misfit]:
    """One misfit per buffer without values of its own.

    With the history of the model's factory that is exact: the memory was never written to. Without it, values
    tell: NaN, numbers below the smallest normal one, integers beyond 2^40, variances that are zero or negative,
    frequencies and positions that are all zero.

    Example:
        >>> [misfit.weight for misfit in wiped_buffers(nn.BatchNorm1d(4))]
        []
    """
    for module, path in module_names(model).items():
        for name, buffer in module._buffers.items():
            if buffer is None or buffer.is_meta or not buffer.numel() or buffer.layout != torch.strided:
                continue
            never = history is not None and history.is_garbage(buffer)
            why = "its memory was never written to" if never else _tell_tale(name, buffer.detach())
            if why:
                full = f"{path}.{name}" if path else name
                message = f"{full}: {why}; what `__init__` put there is lost by `to_empty`, fill it again after that."
                yield Misfit(weight=full, kind="wiped-buffer", message=message)


def _tell_tale(name: str, buffer: torch.Tensor) -> str:
    """What values tell of memory that was not filled; empty if nothing."""
    if buffer.is_floating_point():
        return _of_floats(name, buffer.double(), tiny=torch.finfo(buffer.dtype).tiny)
    if buffer.dtype in (torch.int32, torch.int64):
        if int(buffer.max()) > _LARGEST_INTEGER or int(buffer.min()) < -_LARGEST_INTEGER:
            return f"it holds {int(buffer.max())}"
        if "position" in name and buffer.numel() > 1 and not bool(buffer.any()):
            return "all positions are 0"
    return ""


def _of_floats(name: str, values: torch.Tensor, *, tiny: float) -> str:
    if bool(values.isnan().any()):
        return "it holds NaN"
    if name == "running_var" and (bool((values < 0).any()) or not bool(values.any())):
        return "its variances are zero or negative"
    if "freq" in name and values.numel() > 1 and not bool(values.any()):
        return "all frequencies are 0"
    flat = values.flatten()
    denormal = (flat != 0) & (flat.abs() < tiny)
    is_sorted = bool((flat.diff() >= 0).all()) or bool((flat.diff() <= 0).all())
    if float(denormal.double().mean()) >= _DENORMAL_SHARE and not is_sorted:
        return f"it holds numbers such as {float(flat[denormal][0]):.2g}, as memory does that nobody filled"
    return ""

"""What the model is run with to see its graph: a few samples, or zeros where the batch holds no values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from onesigma.model.batches import Batch

__all__ = ["Feed", "feed_of", "has_values"]

_FEW = 2  # samples: BatchNorm in training mode refuses one


@dataclass(frozen=True)
class Feed:
    """One batch to run, and for each of its tensors the data that it stands for.

    Attributes:
        batch: Arguments of the model.
        data: Tensor of `batch` → (the data's tensor, whether it holds values).
    """

    batch: Batch
    data: Mapping[torch.Tensor, tuple[torch.Tensor, bool]]


def has_values(tensor: torch.Tensor) -> bool:
    """Whether numbers can be read from it."""
    return not (tensor.is_meta or isinstance(tensor, FakeTensor))


def feed_of(batch: Batch, *, few: bool = True, on_meta: bool = False) -> Feed:
    """The first samples of a batch, its data beside them; with `few=False` all samples."""
    data: dict[torch.Tensor, tuple[torch.Tensor, bool]] = {}
    most = _FEW if few and batch.num_samples > _FEW else batch.num_samples

    def fed(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            fits = value.dim() > 0 and value.shape[0] == batch.num_samples
            part = value[:most] if fits else value
            real = has_values(value)
            if not on_meta and not real:
                part = torch.zeros(part.shape, dtype=part.dtype)
            elif on_meta and real:
                part = part.to("meta")
            part = part.detach().clone().requires_grad_(value.requires_grad)
            data[part] = (value, real)
            return part
        if isinstance(value, Mapping):
            return {name: fed(item) for name, item in value.items()}
        if isinstance(value, (tuple, list)):
            items = [fed(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    args, kwargs = tuple(map(fed, batch.args)), {name: fed(value) for name, value in batch.kwargs.items()}
    return Feed(replace(batch, args=args, kwargs=kwargs, num_samples=most), data)

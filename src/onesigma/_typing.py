"""Types that several rooms share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

__all__ = ["Activation", "Batch", "Batches", "Loss"]

Activation: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""A pointwise function of a tensor, such as `torch.tanh` or `nn.GELU()`."""

Batch: TypeAlias = torch.Tensor | Sequence[Any] | Mapping[str, Any]
"""One batch: inputs, `(inputs, targets)`, `((a, b), targets)`, or keyword inputs."""

Batches: TypeAlias = Batch | Iterable[Batch]
"""One batch or an iterable of them, such as a `DataLoader`."""

Loss: TypeAlias = Callable[..., torch.Tensor]
"""`loss(output, targets)`, a scalar tensor."""

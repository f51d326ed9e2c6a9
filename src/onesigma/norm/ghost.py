"""`ghost_`: BatchNorm over parts of the batch, the running statistics being those of the whole."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError
from onesigma.model.edits import Edits
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.running import normalized, update_, weight_and_bias
from onesigma.norm.statistics import BatchNorm
from onesigma.norm.variants import Variant, convert_

__all__ = ["GhostBatchNorm", "ghost_"]


class GhostBatchNorm(Variant, BatchNorm):
    """BatchNorm of ghost batches: in training each part of the batch is normalized by its own mean and variance.

    A batch of N samples is cut into ⌊N / ghost_size⌋ parts of neighbors whose sizes differ by at most one; so no part
    is smaller than `ghost_size` unless the batch is, and no last part of one sample is left over. Running statistics,
    momentum and counter move once per batch and bit for bit as those of `nn.BatchNorm`, which it is in eval mode: the
    size of the parts changes the noise of training and nothing else.

    Shapes: (N, C, …) → (N, C, …).

    Args:
        num_features: C.
        ghost_size: Samples of a part.
        **options: Those of `nn.BatchNorm1d`.

    Example:
        >>> norm, x = GhostBatchNorm(3, ghost_size=4), torch.randn(9, 3)
        >>> parts = [F.batch_norm(part, None, None, training=True) for part in (x[:5], x[5:])]
        >>> torch.equal(norm(x), torch.cat(parts))
        True

    Reference: Hoffer et al. 2017, section 4, https://arxiv.org/abs/1705.08741
    """

    attributes = ("ghost_size",)
    ghost_size: int

    @classmethod
    def reason_against(cls, norm: nn.Module) -> str:
        """Parts of a sequence's rows would be no parts of the batch."""
        return "it takes the positions of a sequence as rows, not samples" if isinstance(norm, BatchNormLast) else ""

    def __init__(self, num_features: int, *, ghost_size: int = 32, **options: Any) -> None:
        super().__init__(num_features, **options)
        self.ghost_size = _checked(ghost_size)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize part by part in training, by the running statistics in eval."""
        self._check_input_dim(input)
        parts = self.parts_of(input) if self.training else ()
        weight, bias = weight_and_bias(self)
        if len(parts) < 2:
            return normalized(self, input, weight=weight, bias=bias)
        output = torch.cat([F.batch_norm(part, None, None, weight, bias, True, 0.0, self.eps) for part in parts])
        if self.track_running_stats and self.running_mean is not None:
            update_(self, input)
        return output

    def parts_of(self, input: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The ghost batches of a batch: views of it, at least one."""
        return torch.tensor_split(input, max(len(input) // self.ghost_size, 1))

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"GhostBatchNorm: wanted an input (N, C, …), got shape {tuple(input.shape)}.")


def ghost_(model: nn.Module, *, size: int = 32) -> Edits:
    """Let every BatchNorm of a model normalize ghost batches of about `size` samples; see `GhostBatchNorm`.

    A layer keeps its class as a base, its parameters, buffers, hooks and state-dict keys; `plain_` or `undo` puts the
    change off. Refused are subclasses that compute their normalization by themselves.

    Raises:
        ConfigError: `size` is no positive whole number.

    Warns:
        NoEffectWarning: No layer could be changed.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> edits = ghost_(model, size=16)
        >>> isinstance(model[1], GhostBatchNorm) and isinstance(model[1], nn.BatchNorm2d)
        True
        >>> edits.undo()
        >>> type(model[1]).__name__
        'BatchNorm2d'
    """
    return convert_(model, GhostBatchNorm, action="ghost", ghost_size=_checked(size))


def _checked(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"A ghost batch must have a positive whole number of samples, got {size!r}.")
    return size

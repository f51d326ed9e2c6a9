"""Derivatives of samples with respect to samples, of given outputs and inputs."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from onesigma.model.signals import sample_axis

__all__ = ["Rows", "coupling_ratio"]

_SEED = 0
# Up to so many outputs, and outputs × inputs, every single derivative is taken.
_EXACT = 512
_EXACT_DERIVATIVES = 1 << 20
# Else those of one random sum per sample, of so many samples.
_MAX_SAMPLES = 16


class Rows(NamedTuple):
    """A tensor whose samples lie along an axis."""

    tensor: torch.Tensor
    axis: int

    @classmethod
    def of(cls, tensor: torch.Tensor, *, num_samples: int) -> "Rows | None":
        """The tensor, or None where it is not real or has no axis of so many samples."""
        axis = sample_axis(tensor, num_samples=num_samples)
        return None if axis is None or not tensor.is_floating_point() else cls(tensor, axis)

    def by_sample(self, values: torch.Tensor) -> torch.Tensor:
        """`values`, shaped like the tensor, as (samples, all else)."""
        return values.movedim(self.axis, 0).flatten(1) if values.dim() > 1 else values.unsqueeze(1)


def coupling_ratio(
    outputs: list[Rows], leaves: list[Rows], *, num_samples: int, max_samples: int = _MAX_SAMPLES
) -> float:
    """Largest derivative across samples over the largest within one."""
    across = within = 0.0
    probes = _exact_probes(outputs, leaves, num_samples=num_samples)
    every = probes is not None
    for i, value in probes or _sampled_probes(outputs, num_samples=num_samples, max_samples=max_samples):
        sizes = _sizes(value, leaves, num_samples=num_samples)
        within = max(within, float(sizes[i]))
        sizes[i] = 0
        across = max(across, float(sizes.max()))
    if not across and not every:
        across = _across_groups(outputs, leaves, num_samples=num_samples)
    if across in (0.0, math.inf):
        return across
    return across / within if within else math.inf


def _sizes(value: torch.Tensor, leaves: list[Rows], *, num_samples: int) -> torch.Tensor:
    """Largest derivative of a scalar with respect to each sample."""
    found = torch.autograd.grad(value, [leaf.tensor for leaf in leaves], retain_graph=True, allow_unused=True)
    sizes = torch.zeros(num_samples, dtype=torch.float64)
    for leaf, gradient in zip(leaves, found, strict=True):
        if gradient is not None and gradient.numel():
            largest = leaf.by_sample(gradient).abs().amax(1).nan_to_num(nan=math.inf)
            sizes = torch.maximum(sizes, largest.double().cpu())
    return sizes


def _exact_probes(
    outputs: list[Rows], leaves: list[Rows], *, num_samples: int
) -> Iterator[tuple[int, torch.Tensor]] | None:
    """Every output, with its sample; None where they are many."""
    count = sum(rows.tensor.numel() for rows in outputs)
    if count > _EXACT or count * sum(leaf.tensor.numel() for leaf in leaves) > _EXACT_DERIVATIVES:
        return None
    tables = [rows.by_sample(rows.tensor) for rows in outputs]
    return ((i, value) for table in tables for i in range(num_samples) for value in table[i])


def _sampled_probes(outputs: list[Rows], *, num_samples: int, max_samples: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Sums of the outputs of one sample with random signs, for samples spread evenly."""
    generator = torch.Generator().manual_seed(_SEED)
    for rows in outputs:
        values = rows.by_sample(rows.tensor)
        for i in range(0, num_samples, -(-num_samples // max_samples)):
            yield i, (values[i] * _signs(values[i], generator)).sum()


def _across_groups(outputs: list[Rows], leaves: list[Rows], *, num_samples: int) -> float:
    """The derivative of groups of samples with respect to all others: any two samples are parted by a bit of theirs."""
    generator = torch.Generator().manual_seed(_SEED)
    numbers, across = torch.arange(num_samples), 0.0
    for bit in range((num_samples - 1).bit_length()):
        for side in (0, 1):
            members = (numbers >> bit) % 2 == side
            parts = [rows.by_sample(rows.tensor)[members] for rows in outputs]
            total = sum((part * _signs(part, generator)).sum() for part in parts)
            assert isinstance(total, torch.Tensor)
            sizes = _sizes(total, leaves, num_samples=num_samples)
            across = max(across, float(sizes[~members].max()))
    return across


def _signs(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 2, values.shape, generator=generator).to(values) * 2 - 1

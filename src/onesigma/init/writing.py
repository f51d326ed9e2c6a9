"""What every filler does: find the weights, draw each from its own stream, and write only what this process holds."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onesigma._errors import ConfigError, ModelError
from onesigma.model.fan import Fan, fans
from onesigma.numbers.keys import key_of
from onesigma.numbers.random import Distribution, draw_

__all__ = ["Key", "Target", "Weight", "draw_into", "held", "stream_key", "write_", "writing"]

Target = TypeVar("Target", Tensor, nn.Module)
"""A tensor, or a layer whose weights are meant."""

Key: TypeAlias = tuple[int, str]
"""Seed and parameter name."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor to fill.

    Attributes:
        tensor: What is written to.
        name: Its name within the layer that was given; "" for a tensor.
        fan: By the layer's role; None for a tensor, whose axes are taken as (out, in, *kernel).
    """

    tensor: Tensor
    name: str = ""
    fan: Fan | None = None


def writing(target: Tensor | nn.Module) -> Iterator[Weight]:
    """The weights of a layer, or the tensor itself; what is written to a parametrized weight goes through its inverse.

    Raises:
        ModelError: The tensor is computed from others, so that writing to it would have no effect; or a
            parametrization has no inverse, or its inverse does not give back what was written.
    """
    if isinstance(target, nn.Module):
        for name, fan in fans(target).items():
            yield from _layer_weight(target, name, fan=fan)
        return
    owner = target._base if target._is_view() else target
    if owner is not None and owner.grad_fn is not None:
        raise ModelError(
            f"a tensor of shape {tuple(target.shape)} is computed from others ({type(owner.grad_fn).__name__}), so "
            "writing to it has no effect; for a parametrized weight pass its layer instead."
        )
    yield Weight(target)


def _layer_weight(layer: nn.Module, name: str, *, fan: Fan) -> Iterator[Weight]:
    if not parametrize.is_parametrized(layer, name):
        weight = layer._parameters.get(name)
        if weight is None:
            raise ModelError(
                f"{type(layer).__name__}.{name} is no parameter but computed from others; "
                "remove the weight_norm or hook that does so first."
            )
        yield Weight(weight, name, fan)
        return
    with torch.no_grad():
        before = getattr(layer, name)
        fresh = torch.empty_like(before, memory_format=torch.contiguous_format)
        yield Weight(fresh, name, fan)
        _write_through(layer, name, fresh)


def _write_through(layer: nn.Module, name: str, value: Tensor) -> None:
    where = f"{type(layer).__name__}.{name}"
    originals = {key: each.clone() for key, each in layer.parametrizations[name].state_dict().items()}  # type: ignore[index,union-attr]
    reason = ""
    try:
        setattr(layer, name, value)
        kept = getattr(layer, name)
        if not value.is_meta and not torch.allclose(kept, value, rtol=1e-3, atol=1e-6):
            reason = "it gives back another weight than was written"
    except (NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error)
    if reason:
        layer.parametrizations[name].load_state_dict(originals)  # type: ignore[index,union-attr]
        raise ModelError(
            f"{where} is parametrized and takes no such weight: {reason}; fill it before it is parametrized."
        )


def stream_key(weight: Weight, *, generator: torch.Generator | None, key: Key | None) -> int:
    """The 64-bit key of a weight's stream: from (seed, name), or one draw from the generator or torch's default one."""
    if key is not None:
        if generator is not None:
            raise ConfigError("a stream is named by key=(seed, name) or drawn from generator=, not both; drop one.")
        seed, name = key
        return key_of(seed, f"{name}.{weight.name}" if weight.name else name)
    drawn = torch.empty((), dtype=torch.int64, device=generator.device if generator is not None else "cpu")
    drawn.random_(-(2**63), None, generator=generator)
    if _is_distributed(weight.tensor):
        drawn = _agreed(drawn, weight.tensor)
    return int(drawn.item()) % 2**64


def _agreed(drawn: Tensor, tensor: Any) -> Tensor:
    """The key of the mesh's first process: shards and replicas of one tensor must come from one stream."""
    mesh = tensor.device_mesh
    drawn = drawn.to(mesh.device_type)
    for axis in range(mesh.ndim):
        torch.distributed.broadcast(drawn, group=mesh.get_group(axis), group_src=0)
    return drawn


def draw_into(weight: Weight, distribution: Distribution, *, key: int) -> None:
    """Draw the part of a weight that this process holds."""
    local, indices = held(weight.tensor)
    if local.is_complex():
        # As torch does: both parts are normal with half the variance.
        local = torch.view_as_real(local)
        indices = None if indices is None else [*indices, range(2)]
    shape = (*weight.tensor.shape, 2) if weight.tensor.is_complex() else weight.tensor.shape
    if type(local) in (Tensor, nn.Parameter):
        draw_(local, distribution, key=key, shape=shape, indices=indices)
        return
    plain = torch.empty(local.shape, dtype=local.dtype, device=local.device)
    draw_(plain, distribution, key=key, shape=shape, indices=indices)
    with torch.no_grad():
        local.copy_(plain)


def write_(tensor: Tensor, values: Callable[[], Tensor]) -> None:
    """Copy the part of the whole `values()` that this process holds; for a meta tensor they are not made."""
    local, indices = held(tensor)
    if local.is_meta or local.numel() == 0:
        return
    whole = values()
    for axis, places in enumerate(indices or ()):
        whole = whole.index_select(axis, torch.tensor(list(places), dtype=torch.int64, device=whole.device))
    with torch.no_grad():
        local.copy_(whole)


def held(tensor: Tensor) -> tuple[Tensor, list[range | list[int]] | None]:
    """The part of a tensor that this process holds, and per axis the logical indices of that part; None means all.

    Raises:
        ModelError: The tensor is a pending sum over processes, which cannot be written to.
    """
    if not _is_distributed(tensor):
        return tensor, None
    mesh, axes = tensor.device_mesh, [torch.arange(size) for size in tensor.shape]
    place = mesh.get_coordinate()
    for mesh_axis, placement in enumerate(tensor.placements):
        if placement.is_partial():
            raise ModelError("a partial DTensor is a sum that is not yet made and cannot be filled; redistribute it.")
        if placement.is_replicate() or place is None:
            continue
        axis = placement.dim % tensor.ndim
        # The placement itself says what it cuts, strided shards of FSDP beside tensor parallelism included.
        line = axes[axis].view([-1 if each == axis else 1 for each in range(tensor.ndim)])
        shards, _ = placement._split_tensor(line, mesh.size(mesh_axis), with_padding=False)
        axes[axis] = shards[place[mesh_axis]].flatten()
    return tensor._local_tensor, [_as_range(axis.tolist()) for axis in axes]


def _is_distributed(tensor: Any) -> TypeGuard[Any]:
    # Where nobody has imported it there is no DTensor, and importing it takes as long as all of torch.
    distributed = sys.modules.get("torch.distributed.tensor")
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def _as_range(indices: list[int]) -> range | list[int]:
    if indices and indices[-1] - indices[0] + 1 == len(indices):
        return range(indices[0], indices[-1] + 1)
    return indices

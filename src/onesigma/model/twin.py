"""A plain twin of a model whose weights are spread over ranks: the same layers and names, whole tensors."""

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from onesigma.model.names import tensor_names, unwrapped

__all__ = ["plain_twin", "write_back_"]


def plain_twin(model: nn.Module) -> nn.Module:
    """Return a copy without DDP, FSDP2 (`fully_shard`) or DTensor, on which nothing communicates any more.

    Every DTensor is gathered, so all ranks of its mesh must call, and each then holds the whole model.
    """
    module = unwrapped(model)
    for part in module.modules():
        if _is_fully_sharded(part):
            part.reshard()  # type: ignore[operator]
    memo: dict[int, Any] = {id(part): _blank(part) for part in module.modules()}
    for part in module.modules():
        _fill(memo[id(part)], part, memo=memo)
    twin: nn.Module = memo[id(module)]
    return twin


def write_back_(model: nn.Module, values: Mapping[str, torch.Tensor]) -> Callable[[], None]:
    """Write whole tensors, by canonical name, into a model that may hold shards of them; return what undoes it."""
    tensors = tensor_names(unwrapped(model))
    saved = {name: tensors[name].detach().clone() for name in values}

    def write(news: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in news.items():
                tensors[name].copy_(_spread_like(tensors[name], value))

    write(values)
    return lambda: write(saved)


def _spread_like(tensor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Cut a whole value as the tensor is cut; every rank has it, so nothing is sent."""
    if not _is_spread(tensor) or _is_spread(value):
        return value
    spread: Any = tensor
    cut = sys.modules["torch.distributed.tensor"].distribute_tensor
    result: torch.Tensor = cut(value.to(spread.device), spread.device_mesh, spread.placements, src_data_rank=None)
    return result


def _is_spread(tensor: torch.Tensor) -> bool:
    return type(tensor).__name__ == "DTensor" or (hasattr(tensor, "device_mesh") and hasattr(tensor, "placements"))


def _is_fully_sharded(module: nn.Module) -> bool:
    return any(base.__name__ == "FSDPModule" for base in type(module).__mro__)


def _blank(module: nn.Module) -> nn.Module:
    """An empty module of the class that the user wrote: `fully_shard` puts one of its own in front."""
    kind = type(module)
    if _is_fully_sharded(module):
        kind = next(base for base in kind.__mro__[1:] if "FSDP" not in base.__name__)
    return kind.__new__(kind)


def _fill(twin: nn.Module, module: nn.Module, *, memo: dict[int, Any]) -> None:
    for key, value in module.__dict__.items():
        if type(key) is not str:
            continue  # what `torch.distributed` keeps of its own
        if key in ("_parameters", "_buffers"):
            twin.__dict__[key] = type(value)((name, _whole(tensor, memo)) for name, tensor in value.items())
        elif "hook" in key and isinstance(value, dict):
            twin.__dict__[key] = type(value)((name, hook) for name, hook in value.items() if not _communicates(hook))
        else:
            twin.__dict__[key] = _copied(value, memo)


def _whole(tensor: torch.Tensor | None, memo: dict[int, Any]) -> torch.Tensor | None:
    if tensor is None or id(tensor) in memo:
        return None if tensor is None else memo[id(tensor)]
    gathered = tensor.full_tensor() if _is_spread(tensor) else tensor  # type: ignore[attr-defined]
    value = gathered.detach().clone()
    memo[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
    return memo[id(tensor)]  # type: ignore[no-any-return]


def _communicates(hook: Any) -> bool:
    owner = getattr(hook, "func", hook)
    home = getattr(owner, "__module__", None) or type(getattr(owner, "__self__", owner)).__module__
    return str(home).startswith("torch.distributed")


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except (TypeError, RuntimeError):
        return value  # process groups, locks and the like are shared

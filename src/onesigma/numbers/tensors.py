"""Tensors, for rooms that read them where they come and need torch for nothing else.

A pass over a lake, on this machine or by a thousand workers, starts sooner and in less memory without torch; whoever
holds a tensor has imported it.
"""

import os
import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

__all__ = ["is_on_device", "is_tensor", "num_threads", "tensor_array"]


def is_tensor(value: object) -> "TypeIs[torch.Tensor]":
    """Whether `value` is a tensor; torch is not imported to find out.

    Example:
        >>> is_tensor(np.zeros(3))
        False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def tensor_array(tensor: "torch.Tensor") -> np.ndarray:
    """A tensor as an array without rounding; on the CPU without a copy, but for types that NumPy lacks."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and (tensor.element_size() == 1 or str(tensor.dtype) == "torch.bfloat16"):
        tensor = tensor.float()  # NumPy has neither bfloat16 nor float8; every value of both is a float32
    return tensor.resolve_neg().numpy()


def is_on_device(table: "torch.Tensor") -> bool:
    """Whether a table's moments can be computed where it is: it holds floats, and the device has doubles."""
    return table.is_floating_point() and table.ndim == 2 and table.device.type not in ("mps", "meta")


def num_threads() -> int:
    """`torch.get_num_threads()` where torch is in use, otherwise what torch says: OMP_NUM_THREADS or the cores."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, int(asked)) if asked.isdecimal() else _num_cores()


def _num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

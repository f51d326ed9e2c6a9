"""Who asked for a write: the initializer and the function on the call stack, and whether a layer sets its own."""

import sys
from dataclasses import dataclass
from itertools import count
from types import FrameType

import torch
from torch import nn

__all__ = ["Asked", "Stack", "memory_of"]

_AUDIT, _HISTORY = "onesigma.init.audit", "onesigma.init.history"
_INITIALIZERS = ("torch.nn.init", "onesigma.init", "onesigma.numbers")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the call stack tells of one write.

    Attributes:
        where: File, line and function of the code that asked for it.
        own: It is what the layer itself does while it is constructed, its default.
        initializer: Number of the call of the initializer that writes; 0 if none does.
        bound: Where `trunc_normal_` cuts, in std; 0 if it does not.
        caller: Number of the function call that asked.
        within: Numbers of all function calls that are under way.
    """

    where: str
    own: bool = False
    initializer: int = 0
    bound: float = 0.0
    caller: int = 0
    within: frozenset[int] = frozenset()


class Stack:
    """Numbers function calls, so that two of the same function are told apart without keeping more than one stack."""

    def __init__(self) -> None:
        self._frames: list[tuple[FrameType, int]] = []
        self._numbers = count(1)

    def clear(self) -> None:
        """Let go of the functions that are under way."""
        self._frames.clear()

    def asked(self, target: torch.Tensor) -> Asked:
        """Who, of those under way now, asks for a write to `target`."""
        self._look()
        initializer = caller = None
        own, bound = False, 0.0
        for entry in reversed(self._frames):
            frame, name = entry[0], entry[0].f_code.co_name
            module = str(frame.f_globals.get("__name__", ""))
            if module.startswith(_INITIALIZERS):
                initializer, caller = entry, None
                bound = _bound(frame) or bound
            elif caller is None and not module.startswith(("torch.", "contextlib")) and not hasattr(nn.init, name):
                caller = entry
            if name == "__init__" and isinstance(layer := frame.f_locals.get("self"), nn.Module):
                own = own or _owns(layer, target)
        return Asked(
            where="torch itself" if caller is None else _place(caller[0]),
            own=own,
            initializer=0 if initializer is None else initializer[1],
            bound=bound,
            caller=0 if caller is None else caller[1],
            within=frozenset(number for _, number in self._frames),
        )

    def _look(self) -> None:
        """The calls under way, outermost first. What was under way before and still is keeps its number."""
        found: list[FrameType] = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") != _AUDIT:  # Who called the factory asks nothing.
            if frame.f_globals.get("__name__") != _HISTORY:
                found.append(frame)
            frame = frame.f_back
        found.reverse()
        same = 0
        while same < min(len(found), len(self._frames)) and found[same] is self._frames[same][0]:
            same += 1
        self._frames[same:] = [(frame, next(self._numbers)) for frame in found[same:]]


def memory_of(tensor: torch.Tensor) -> int:
    """What tells the memory of a tensor from any other that is alive; views share it."""
    return 0 if tensor.is_meta or tensor.layout != torch.strided else tensor.untyped_storage()._cdata


def _bound(frame: FrameType) -> float:
    """How many std a truncated normal keeps; torch's own bounds are absolute."""
    if frame.f_code.co_name != "trunc_normal_":
        return 0.0
    mean, std, a, b = (frame.f_locals.get(name) for name in ("mean", "std", "a", "b"))
    if not all(isinstance(value, int | float) for value in (mean, std, a, b)) or not std:
        return 0.0
    return float(min(b - mean, mean - a) / std)  # type: ignore[operator]


def _owns(layer: nn.Module, target: torch.Tensor) -> bool:
    own = layer.__dict__.get("_parameters", {}).values()
    return any(parameter is not None and memory_of(parameter) == memory_of(target) for parameter in own)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} ({frame.f_code.co_name})"

"""What wrote to which tensor while a factory builds a model: who set a weight, how often, and what was lost."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from onesigma.init.asked import Asked, Stack, memory_of
from onesigma.model.batches import tensors_in

__all__ = ["History", "Write"]

_RANDOM = frozenset({
    "normal_", "uniform_", "exponential_", "random_", "bernoulli_", "log_normal_", "cauchy_", "geometric_",
})  # fmt: skip
_SETTING = _RANDOM | {"zero_", "fill_", "copy_"}
_LEAKING = frozenset({"numpy", "data_ptr", "__array__", "__dlpack__", "set_", "apply_", "map_", "__setitem__"})
_EMPTY = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"})


@dataclass(slots=True, eq=False)
class Write:
    """New values for a tensor, or a part of one.

    Attributes:
        target: The memory that was written to.
        order: Number of the write, over all tensors.
        asked: Who asked for it.
        is_draw: Random numbers, or an initializer, and no copy of something else.
        std: Of the values, once all that belongs to this write was done; NaN before.
    """

    target: torch.Tensor
    order: int
    asked: Asked
    is_draw: bool
    std: float = float("nan")


class History(TorchFunctionMode):
    """While open, every write to a tensor is noted: by `torch.nn.init`, by methods such as `normal_`, by copies.

    Random numbers, values and results stay what they are. Memory that came from `torch.empty` (as `to_empty` makes it)
    and was never written to is known as such.

    Example:
        >>> with History() as history:
        ...     layer = nn.Linear(8, 8)
        ...     _ = nn.init.normal_(layer.weight, std=0.1)
        >>> [write.asked.own for write in history.of(layer.weight)]
        [True, False]
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[tuple[torch.Tensor, Write]] = []
        self._writes: dict[int, list[Write]] = defaultdict(list)
        self._stack = Stack()
        self._blank: dict[int, tuple[torch.Tensor, int]] = {}
        self._derived: Any = WeakTensorKeyDictionary()
        self._order = 0
        self._is_closed = False

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)  # type: ignore[no-untyped-call]
        for memory in list(self._writes):
            self._settle(memory)
        self._stack.clear()
        # Judged now: whoever runs the model later, and puts its buffers back, writes to them.
        self._blank = {memory: made for memory, made in self._blank.items() if made[0]._version == made[1]}
        self._is_closed = True

    def of(self, tensor: torch.Tensor) -> list[Write]:
        """The writes to all of this tensor, in order."""
        return [write for write in self._writes.get(memory_of(tensor), ()) if write.target.numel() >= tensor.numel()]

    def parts_of(self, tensor: torch.Tensor) -> list[Write]:
        """The writes to any of this tensor, in order."""
        return list(self._writes.get(memory_of(tensor), ()))

    def is_garbage(self, tensor: torch.Tensor) -> bool:
        """The tensor is memory that nobody wrote to before the history was closed."""
        if tensor.is_meta or not tensor.numel():
            return False
        made = self._blank.get(memory_of(tensor))
        return made is not None and (self._is_closed or made[0]._version == made[1])

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        with torch._C.DisableTorchFunction():
            replaced = args[0] if name == "data.__set__" else None
            old = memory_of(replaced) if replaced is not None else None
            for target in _written(func, name, args, kwargs):
                self._note(target, name=name)
        output = func(*args, **kwargs)
        with torch._C.DisableTorchFunction():
            if replaced is not None and old is not None:
                self._move(replaced, old)
            elif name in _EMPTY and isinstance(output, torch.Tensor) and not output.is_meta:
                self._blank[memory_of(output)] = (output, output._version)
            elif not name.endswith("_"):
                self._derive(args, output)
        return output

    def _note(self, target: torch.Tensor, *, name: str) -> None:
        """One write, unless it belongs to the initializer whose write was the last one here."""
        if target.is_meta:
            return
        memory = memory_of(target)
        self._blank.pop(memory, None)
        asked = self._stack.asked(target)
        draws = asked.initializer > 0 or name in _RANDOM
        if draws and (origins := self._origins(target)):
            self.lost.extend(
                (parameter, Write(target, self._count(), asked, draws))
                for parameter in origins
                if parameter.shape == target.shape and memory_of(parameter) != memory
            )
            return
        target = target.detach()  # An alias of its own: it keeps this memory, whatever `.data` becomes.
        last = self._writes[memory][-1] if self._writes[memory] else None
        if last is not None and asked.initializer and last.asked.initializer == asked.initializer:
            last.target = max(last.target, target, key=torch.Tensor.numel)
        elif name in _SETTING or asked.initializer:
            self._settle(memory)
            self._writes[memory].append(Write(target, self._count(), asked, draws))

    def _count(self) -> int:
        self._order += 1
        return self._order

    def _settle(self, memory: int) -> None:
        """Read the std that the last write left: what was multiplied or clamped since then belongs to it."""
        for write in self._writes[memory][-1:]:
            if write.std != write.std and not write.asked.own and write.target.is_floating_point():
                write.std = float(write.target.detach().double().square().mean().sqrt())

    def _move(self, tensor: torch.Tensor, old: int) -> None:
        """`parameter.data = new`: what was written to the old memory came before."""
        new = memory_of(tensor)
        if new != old:
            self._settle(old)
            write = Write(tensor.detach(), self._count(), self._stack.asked(tensor), False)
            self._writes[new] = [*self._writes[old], *self._writes[new], write]

    def _origins(self, tensor: torch.Tensor) -> tuple[nn.Parameter, ...]:
        found: tuple[nn.Parameter, ...] = self._derived.get(tensor, ())
        return found

    def _derive(self, args: Sequence[Any], output: Any) -> None:
        """Remember what was computed from parameters: writing to that sets nothing."""
        sources = [
            parameter
            for tensor in tensors_in(args)
            for parameter in ((tensor,) if isinstance(tensor, nn.Parameter) else self._origins(tensor))
        ]
        memories = {memory_of(parameter) for parameter in sources}
        for tensor in tensors_in(output) if sources else ():
            if not isinstance(tensor, nn.Parameter) and memory_of(tensor) not in memories:
                self._derived[tensor] = tuple(dict.fromkeys(sources))


def _name(func: Callable[..., Any]) -> str:
    name: str = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        return f"{getattr(getattr(func, '__self__', None), '__name__', '')}.{name}"
    return name


def _written(
    func: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[torch.Tensor]:
    """The tensors that the call writes to, or hands out the memory of."""
    in_place = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
    if in_place or name in _LEAKING or getattr(func, "__module__", "") == "torch.nn.init":
        yield from tensors_in(args[0] if args else kwargs.get("tensor", kwargs.get("input")))
    yield from tensors_in(kwargs.get("out"))

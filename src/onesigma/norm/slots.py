"""Where a norm can be put into a live model: an entry of a Sequential, around a layer, or inside a forward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

from torch import nn
from torch.overrides import TorchFunctionMode

from onesigma.norm.migration import InsertedNorm

__all__ = ["Normalized", "Slot", "Spliced", "attach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place for one module.

    Attributes:
        module: The module whose output ("behind") or input ("before") goes through it, or in whose forward it is
            called ("inside").
        side: Where.
        op: "inside": canonical name of the function whose result it is,
        function: that function,
        number: and the number of its call.
    """

    module: nn.Module
    side: Literal["behind", "before", "inside"]
    op: str = ""
    function: Callable[..., Any] | None = None
    number: int = 0


class Normalized(nn.Sequential):
    """A layer and a norm in one place; what else is asked of it, as `weight`, is answered by the layer.

    Example:
        >>> pair = Normalized(layer=nn.Linear(4, 8), norm=nn.BatchNorm1d(8))
        >>> pair.out_features
        8
    """

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The second part of what the first makes of the arguments."""
        first, second = self._modules.values()
        assert first is not None
        assert second is not None
        return second(first(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = self.__dict__.get("_modules", {}).get("layer")
            # How to copy or store the pair the layer does not know: it would leave the norm out.
            if layer is None or name.startswith("__"):
                raise
            return getattr(layer, name)


class Spliced(nn.Module):
    """What a module is, besides what it was, whose forward calls a norm on results of its own function calls.

    Attributes:
        splices: For each: the function, the number of its call, the name of the part that is called.
    """

    splices: tuple[tuple[Callable[..., Any], int, str], ...]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward, with norms put in."""
        with _Splicing(self):
            return super().forward(*args, **kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made at run time, so pickle and deepcopy are told how to make it again.
        return _empty, (type(self).__mro__[2],), self.__getstate__()  # type: ignore[no-untyped-call]


class _Splicing(TorchFunctionMode):
    """Counts calls of functions, and hands the results of some to a norm."""

    def __init__(self, owner: Spliced) -> None:
        super().__init__()
        self.owner = owner
        self.counts = [0] * len(owner.splices)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for position, (function, number, name) in enumerate(self.owner.splices):
            if func is function:
                self.counts[position] += 1
                if self.counts[position] == number + 1:
                    result = getattr(self.owner, name)(result)
        return result


def attach(
    model: nn.Module, slot: Slot, part: nn.Module
) -> tuple[nn.Module, str, list[Callable[[], None]], dict[nn.Module, InsertedNorm]]:
    """Put `part` into a slot.

    Returns:
        The module that holds it and its name there; the way back; and for every module whose keys change, what becomes
        of them.
    """
    if slot.side == "inside":
        return _splice(slot, part)
    homes = [
        (parent, key) for parent in model.modules() for key, child in parent._modules.items() if child is slot.module
    ]
    parent, key = homes[0]
    if len(homes) == 1 and isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward:
        return _enter(slot, part, parent, key)
    pairs = {"layer": slot.module, "norm": part}
    wrapped = Normalized(**(pairs if slot.side == "behind" else dict(reversed(pairs.items()))))
    wrapped.training = slot.module.training
    steps = [_refilled(home, {**home._modules, name: wrapped}) for home, name in homes]
    keys = {home: InsertedNorm(norm=f"{name}.norm", layer=name, now=f"{name}.layer") for home, name in homes}
    return wrapped, "norm", steps, keys


def _enter(
    slot: Slot, part: nn.Module, parent: nn.Module, key: str
) -> tuple[nn.Module, str, list[Callable[[], None]], dict[nn.Module, InsertedNorm]]:
    """Give the part an entry of its own beside the module's."""
    name = _free_name(parent, f"{key}_norm" if slot.side == "behind" else f"{key}_prenorm")
    pair = [(key, slot.module), (name, part)]
    pair = pair if slot.side == "behind" else pair[::-1]
    entries = [found for old in parent._modules.items() for found in (pair if old[0] == key else [old])]
    return parent, name, [_refilled(parent, dict(entries))], {parent: InsertedNorm(norm=name, layer=key, now=key)}


def _splice(
    slot: Slot, part: nn.Module
) -> tuple[nn.Module, str, list[Callable[[], None]], dict[nn.Module, InsertedNorm]]:
    """Let the owner's forward call the part."""
    owner: Any = slot.module
    plain, had = type(owner), owner.__dict__.get("splices")
    name = _free_name(owner, f"{slot.op}_norm" + (f"_{slot.number}" if slot.number else ""))
    if not isinstance(owner, Spliced):
        owner.__class__ = _spliced_class(cast(Any, plain))
    owner.__dict__["splices"] = (*(had or ()), (slot.function, slot.number, name))
    back = _refilled(owner, {**owner._modules, name: part})

    def restore() -> None:
        back()
        owner.__class__ = plain
        if had is None:
            owner.__dict__.pop("splices", None)
        else:
            owner.__dict__["splices"] = had

    return owner, name, [restore], {owner: InsertedNorm(norm=name, layer=name, now=name)}


def _free_name(parent: nn.Module, wanted: str) -> str:
    while hasattr(parent, wanted):
        wanted += "_"
    return wanted


def _refilled(parent: nn.Module, modules: Mapping[str, nn.Module | None]) -> Callable[[], None]:
    before = dict(parent._modules)

    def fill(content: Mapping[str, nn.Module | None]) -> None:
        parent._modules.clear()
        parent._modules.update(content)

    fill(modules)
    return lambda: fill(before)


@cache
def _spliced_class(plain: Any) -> Any:
    return type(
        f"Spliced{plain.__name__}", (Spliced, plain), {"__module__": plain.__module__, "__doc__": plain.__doc__}
    )


def _empty(plain: type[nn.Module]) -> Any:
    made = _spliced_class(cast(Any, plain))
    return made.__new__(made)

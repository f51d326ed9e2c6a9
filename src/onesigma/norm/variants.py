"""Variants of BatchNorm: a live layer takes on another kind beside its own class, and puts it off again."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from onesigma._errors import NoEffectWarning
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import unwrapped
from onesigma.norm.statistics import BatchNorm, batch_norms

__all__ = ["Variant", "become_", "built_type", "convert_", "kinds_of", "noticed", "plain_", "shed_"]


class Variant:
    """A kind that a BatchNorm can take on, with the same parameters, buffers, hooks, attributes and state-dict keys.

    The layer's class becomes one made of its own and of the kind. The methods of the kind stand behind the layer's
    own: a `forward` that calls `super().forward` is kept, and computes with the kind. With `outer` they stand before.

    Attributes:
        outer: Whether the methods of the kind come before those of the layer's own class.
        takes_statistics: Whether the kind says what the batch is that statistics are taken of; only one kind can.
        attributes: Names of what the kind keeps on a layer.
        made_of: What a class made at run time consists of: the class before, and the kind.
    """

    outer: ClassVar[bool] = False
    takes_statistics: ClassVar[bool] = True
    attributes: ClassVar[tuple[str, ...]] = ()
    made_of: ClassVar[tuple[Any, Any] | None] = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A class made at run time is in no module, so pickle and deepcopy are told how to make it again.
        if self.made_of is None:
            return super().__reduce_ex__(protocol)
        assert isinstance(self, nn.Module)
        return _empty, (built_type(self), tuple(kinds_of(self))), self.__getstate__()  # type: ignore[no-untyped-call]

    @classmethod
    def reason_against(cls, norm: nn.Module) -> str:
        """What speaks against this kind for a layer in particular; empty if nothing does."""
        return ""

    def put_off(self) -> None:
        """Be again what the layer was without this kind."""
        assert isinstance(self, nn.Module)
        kind = next(kind for kind in reversed(kinds_of(self)) if isinstance(self, kind))
        shed_(self, kind)


def become_(norm: nn.Module, kind: type[Variant], **attributes: Any) -> Callable[[], None]:
    """Let a layer take on a kind, with these attributes; return what takes it off again, whatever came on top of it."""
    saved = {name: norm.__dict__[name] for name in attributes if name in norm.__dict__}
    norm.__class__ = _class_of(built_type(norm), [*kinds_of(norm), kind])
    norm.__dict__.update(attributes)

    def restore() -> None:
        shed_(norm, kind)
        norm.__dict__.update(saved)

    return restore


def shed_(norm: nn.Module, kind: type[Variant]) -> None:
    """Take a kind and its attributes off a layer; nothing where it has it not."""
    kinds = kinds_of(norm)
    if kind not in kinds:
        return
    norm.__class__ = _class_of(built_type(norm), [other for other in kinds if other is not kind])
    for name in () if issubclass(kind, built_type(norm)) else kind.attributes:
        norm.__dict__.pop(name, None)


def kinds_of(norm: nn.Module) -> list[type[Variant]]:
    """The kinds that a layer has taken on, the outer ones last."""
    kinds: list[type[Variant]] = []
    made_of = getattr(type(norm), "made_of", None)
    while made_of is not None:
        kinds.insert(0, made_of[1])
        made_of = getattr(made_of[0], "made_of", None)
    return kinds


def built_type(norm: nn.Module) -> type[nn.Module]:
    """The class that a layer was built as.

    Example:
        >>> from onesigma.norm import freeze_
        >>> norm = nn.BatchNorm1d(2)
        >>> _ = freeze_(norm)
        >>> type(norm).__name__, built_type(norm).__name__
        ('FrozenBatchNorm1d', 'BatchNorm1d')
    """
    kind: Any = type(norm)
    while getattr(kind, "made_of", None) is not None:
        kind = kind.made_of[0]
    return cast(type[nn.Module], kind)


def plain_(model: nn.Module) -> Edits:
    """Let every BatchNorm be of the class again that it was built as: thawed, of one rank, of one batch.

    Parameters, buffers, hooks and state-dict keys stay the same objects, so an optimizer stays valid.

    Warns:
        NoEffectWarning: No layer is anything but what it was built as.

    Example:
        >>> from onesigma.norm import freeze_, ghost_
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> _ = ghost_(model, size=16), freeze_(model)
        >>> _ = plain_(model)
        >>> type(model[0]).__name__, model[0].training
        ('BatchNorm1d', True)
    """
    edits = Edits()
    for name, norm in batch_norms(unwrapped(model)).items():
        if kinds_of(norm):
            action = "put off " + ", ".join(kind.__name__ for kind in kinds_of(norm))
            edits += Edits((Edit(layer=name, action=action),), (_put_off_all(norm),))
    return noticed(edits, "plain_", stacklevel=3)


def _put_off_all(norm: BatchNorm) -> Callable[[], None]:
    before, attributes = type(norm), dict(norm.__dict__)
    trainable = {name: parameter.requires_grad for name, parameter in norm.named_parameters(recurse=False)}
    while kinds_of(norm):
        cast(Variant, norm).put_off()

    def restore() -> None:
        norm.__class__ = before
        norm.__dict__.clear()
        norm.__dict__.update(attributes)
        for name, wanted in trainable.items():
            norm.get_parameter(name).requires_grad_(wanted)

    return restore


def convert_(model: nn.Module, kind: type[Variant], *, action: str, **attributes: Any) -> Edits:
    """Let every BatchNorm of a model take on a kind, but for those that something speaks against.

    Warns:
        NoEffectWarning: No layer did.
    """
    edits = Edits()
    for name, norm in batch_norms(unwrapped(model)).items():
        reason = _reason_against(norm, kind)
        steps = () if reason else (become_(norm, kind, **attributes),)
        edits += Edits((Edit(layer=name, action=action, applied=not reason, reason=reason),), steps)
    return noticed(edits, action, stacklevel=4)


def noticed(edits: Edits, action: str, *, stacklevel: int) -> Edits:
    """The edits, with a warning where none was made."""
    if not edits.applied:
        why = "; ".join(f"{edit.layer}: {edit.reason}" for edit in edits.refused) or "there is none it could act on."
        warnings.warn(f"{action} changed no BatchNorm: {why}", NoEffectWarning, stacklevel=stacklevel)
    return edits


def _reason_against(norm: BatchNorm, kind: type[Variant]) -> str:
    """Why a layer cannot take on a kind; empty if it can."""
    if any(map(is_lazy, norm.parameters(recurse=False))):
        return "it has no shape yet; run one batch through the model first"
    if isinstance(norm, kind):
        return f"it is a {kind.__name__} already"
    for other in kinds_of(norm) if kind.takes_statistics else ():
        if other.takes_statistics:
            return f"it is {other.__name__} already; plain_ or undo that first"
    own = [base for base in built_type(norm).__mro__ if "forward" in vars(base) and not issubclass(base, Variant)]
    for base in own[: own.index(_BatchNorm)]:
        names = getattr(getattr(vars(base)["forward"], "__code__", None), "co_names", ())
        if not issubclass(kind, base) and not {"super", "forward"} <= set(names):
            return f"{base.__name__}.forward computes its own normalization, without super().forward"
    return kind.reason_against(norm)


def _class_of(built: Any, kinds: Sequence[type[Variant]]) -> Any:
    for kind in sorted(kinds, key=lambda kind: kind.outer):
        built = _made(built, cast(Any, kind))
    return built


@cache
def _made(plain: Any, kind: Any) -> Any:
    bases = (kind,) if issubclass(kind, plain) else (kind, plain) if kind.outer else (plain, kind)
    name = kind.__name__.removesuffix("BatchNorm") + plain.__name__
    members = {"__module__": plain.__module__, "__doc__": plain.__doc__, "made_of": (plain, kind)}
    return type(name, bases, members)


def _empty(built: Any, kinds: Sequence[type[Variant]]) -> Any:
    made = _class_of(built, kinds)
    return made.__new__(made)

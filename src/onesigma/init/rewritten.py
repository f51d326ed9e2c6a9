"""What only the history of a model's factory tells: weights drawn twice, drawn into nothing, or not at all."""

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from onesigma.init.history import History, Write
from onesigma.init.misfit import Misfit
from onesigma.model.names import module_names, parameter_names

__all__ = ["drawn_again", "lost_writes", "never_written", "no_op_truncation"]

# One normal value in 16 000 lies beyond; bounds out there cut nothing.
_FAR = 4.0


def lost_writes(model: nn.Module, history: History) -> Iterator[Misfit]:
    """Weights that were drawn into what a parametrization had computed, and not into what it computes from."""
    names = {id(parameter): name for name, parameter in parameter_names(model).items()}
    normed = {id(parameter) for parameter in _weight_normed(model)}
    seen: set[str] = set()
    for parameter, write in history.lost:
        name = re.sub(r"\.original\d*$", "", names.get(id(parameter), ""))
        later = (each for each in history.parts_of(parameter) if not each.asked.own and each.order > write.order)
        if not name or name in seen or any(each.is_draw for each in later):
            continue
        seen.add(name)
        kind = "lost-under-weight-norm" if id(parameter) in normed else "lost-under-parametrization"
        message = (
            f"{name}: {write.asked.where} wrote to it, but it is computed from other tensors, and the next pass "
            "computes it anew; set it before the parametrization, or assign it (`layer.weight = values`)."
        )
        yield Misfit(weight=name, kind=kind, message=message)


def _weight_normed(model: nn.Module) -> Iterator[nn.Parameter]:
    for module in module_names(model):
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                yield getattr(module, f"{hook.name}_v")
        if parametrize.is_parametrized(module):
            for chain in module.parametrizations.values():  # type: ignore[operator]
                if any(type(each).__name__ == "_WeightNorm" for each in chain):
                    yield from chain.parameters()


def never_written(model: nn.Module, history: History) -> Iterator[Misfit]:
    """Parameters in memory that nobody ever wrote to."""
    for name, parameter in parameter_names(model).items():
        if parameter.layout == torch.strided and history.is_garbage(parameter):
            message = f"{name}: its memory was never written to; `to_empty` and `skip_init` leave that to you."
            yield Misfit(weight=name, kind="unset", message=message)


def drawn_again(
    name: str,
    parameter: torch.Tensor,
    history: History,
    *,
    fits: Callable[[float], bool],
    alike: Callable[[float, float], bool],
    owners: int,
) -> str:
    """Why a weight counts as doubly set; empty if it does not.

    A layer's own default does not count, nor a second draw on purpose, as that of a residual writer after all others:
    it has the std that is due. What counts is a right draw with a wrong one after it; the same rule more often than
    the weight has owners; and two rules for a weight that is tied, of which chance lets one win.

    Args:
        name: For the message.
        parameter: The weight.
        history: Of its model.
        fits: Whether a std is the one that is due.
        alike: Whether two stds differ by chance alone.
        owners: Names that the weight has.
    """
    writes = [write for write in history.of(parameter) if not write.asked.own]
    draws = [write for write in writes if write.is_draw and write.std > 0]
    if not draws:
        return ""
    last = writes[-1]
    if not fits(last.std) and (right := next((write for write in draws if fits(write.std)), None)) is not None:
        return f"{right.asked.where} drew it as is due, and {last.asked.where} wrote over that ({_std(last)})"
    if (
        owners > 1
        and (other := next((write for write in draws if not alike(write.std, draws[0].std)), None)) is not None
    ):
        return (
            f"{name} is tied, and its owners draw it by different rules: {draws[0].asked.where} ({_std(draws[0])}), "
            f"{other.asked.where} ({_std(other)}); the order decides"
        )
    # A function that draws over what its own super() or helper has just drawn means the second one.
    meant = [
        draw
        for draw, after in zip(draws, [*draws[1:], None], strict=True)
        if after is None or after.asked.caller not in draw.asked.within
    ]
    same = max(([each for each in meant if alike(each.std, draw.std)] for draw in meant), key=len)
    if len(same) > owners:
        return f"it was drawn {len(same)} times alike ({_std(same[-1])}), the last time by {same[-1].asked.where}"
    return ""


def no_op_truncation(weights: Mapping[str, torch.Tensor], history: History) -> Iterator[Misfit]:
    """Truncated normals whose bounds lie so far out that they cut nothing."""
    for name, parameter in weights.items():
        write = next(iter(reversed(history.of(parameter))), None)
        if write is not None and write.asked.bound > _FAR:
            message = (
                f"{name}: {write.asked.where} cuts at {write.asked.bound:.3g} std; the bounds of torch's "
                "trunc_normal_ are absolute, so it needs a=-2*s, b=2*s for std=s."
            )
            yield Misfit(weight=name, kind="no-op-truncation", message=message, value=0.0)


def _std(write: Write) -> str:
    return f"std {write.std:.4g}"

"""Who wrote into a signal: sums of what equal weights wrote, and a table that meets its own rows, are no strangers'."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onesigma.model.capture import Site
from onesigma.model.prediction.rules.shapes import MOVES, SAME
from onesigma.model.prediction.signal import Known, Signal
from onesigma.model.prediction.slices import Slices, checked, slices_of
from onesigma.model.prediction.step import Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Lineage"]

_NUM_COMPARED = 64  # values by which two weights are told apart
_MOST = 0.1  # share of a sum's variance that may hang on what equal weights wrote: half of it is the std's error
_KEEPS = frozenset({"dropout", "add", "sub", "mul", "div"}) | SAME | MOVES


@dataclass(frozen=True, slots=True)
class _Written:
    """What one call wrote.

    Attributes:
        weight: Shape and some values, which copies and tied weights have in common.
        call: Index of the call.
        before: A bit for each weighted call that its input came through.
        is_table: Whether rows of it were looked up.
    """

    weight: tuple[float, ...]
    call: int
    before: int
    is_table: bool

    def hangs_on(self, other: "_Written") -> bool:
        """Whether the same weights wrote both, one of them after it had seen what the other wrote."""
        follows = self.before >> other.call & 1 or other.before >> self.call & 1
        return self.weight == other.weight and bool(follows) and not self.is_table


@dataclass(frozen=True, slots=True)
class _Line:
    """Of one tensor.

    Attributes:
        shares: Of its variance, by who wrote them.
        before: A bit for each weighted call on the way.
        slices: Which positions of other signals it holds.
        chosen: The same for what has chosen between its values, one by one or sample by sample.
    """

    shares: Mapping[_Written, float] = field(default_factory=dict)
    before: int = 0
    chosen: int = 0
    slices: Slices = field(default_factory=dict)


class Lineage:
    """Follows who wrote what, tensor by tensor, beside the signals."""

    def __init__(self) -> None:
        self._lines: Any = WeakTensorKeyDictionary()

    def follow(self, site: Site, step: Step, *, made: list[Signal], results: Sequence[torch.Tensor]) -> list[Signal]:
        """What the rule made, corrected or refused by what the arguments have in common."""
        lines = {name: self._lines.get(tensor, _Line()) for name, tensor in site.tensors.items()}
        before = 0
        for line in lines.values():
            before |= line.before
        weight = _weight_of(step)
        if weight is None:
            line = _Line(_shares(step, lines), before, _chosen(step, lines, made=made))
        else:
            made = _met_itself(weight, lines.get("input", _Line()), made=made)
            written = _Written(weight, site.call.index, before, site.call.kind == "embedding")
            line = _Line({written: 1.0}, before | 1 << site.call.index)
        held = {name: each.slices for name, each in lines.items()}
        checked(step, held)
        signals = made if len(made) == len(results) else made[:1] * len(results)
        for tensor, signal in zip(results, signals, strict=False):
            self._lines[tensor] = replace(line, slices=slices_of(step, held, made=signal) if step.signals else {})
        return made

    def aside(self, arguments: Iterable[torch.Tensor], result: torch.Tensor) -> None:
        """A mask comes the way that its arguments came."""
        before = 0
        for tensor in arguments:
            before |= self._lines.get(tensor, _Line()).before
        self._lines[result] = _Line(before=before)


def _weight_of(step: Step) -> tuple[float, ...] | None:
    """What tells the weight of a layer from others; None where there is none, or where it is all 0."""
    weight = step.known.get("weight")
    if step.call.kind not in ("linear", "embedding") or not isinstance(weight, Known) or weight.value.is_meta:
        return None
    values = weight.value.detach().reshape(-1)
    some = values[:: max(1, len(values) // _NUM_COMPARED)].tolist()
    return (*map(float, weight.value.shape), *some) if any(some) else None


def _met_itself(weight: tuple[float, ...], line: _Line, *, made: list[Signal]) -> list[Signal]:
    """A tied head: the logit of a token's own row e is, among others, a product of the row with itself.

    With a share s of the variance of the d features h, of mean square q, that is the row, of variance v,
    h = √(s·q/v)·e + …, so h·e has the square s·q·v·d² in one of V logits, beside q·v·d in each of them.
    """
    share = sum(part for each, part in line.shares.items() if each.is_table and each.weight == weight)
    if not share or len(made) != 1:
        return made
    num_rows, width = weight[:2]
    (head,) = made
    return [head.fresh(head.mean, head.var + share * width / num_rows * head.var.mean())]


def _chosen(step: Step, lines: Mapping[str, _Line], *, made: list[Signal]) -> int:
    """Choices that one router makes exclude one another; as independent ones they would be wrong."""
    before = 0
    for name in step.signals:
        before |= lines[name].chosen
    if step.call.op != "where":
        return before if step.call.op in _KEEPS else 0
    if not isinstance(step.known.get("condition"), Signal) or any(each.function is not None for each in made):
        return before  # the same for all samples, or followed as a function of what all are made of
    by = lines["condition"].before
    if by & before:
        raise Unpredictable("where: the same router has chosen between these before")
    return before | by


def _shares(step: Step, lines: Mapping[str, _Line]) -> Mapping[_Written, float]:
    signals = step.signals
    if step.call.op in ("add", "sub") and len(signals) == 2:
        return _summed([(lines[name].shares, float(x.var.mean())) for name, x in signals.items()])
    if len(signals) == 1 and (step.call.op in _KEEPS or step.call.kind == "norm"):
        return lines[next(iter(signals))].shares
    return {}


def _summed(parts: Sequence[tuple[Mapping[_Written, float], float]]) -> Mapping[_Written, float]:
    whole = max(sum(size for _, size in parts), 1e-30)
    found: dict[_Written, float] = {}
    for shares, size in parts:
        for each, share in shares.items():
            found[each] = found.get(each, 0.0) + share * size / whole
    together = sum(2 * math.sqrt(found[a] * found[b]) for a, b in combinations(found, 2) if a.hangs_on(b))
    if together > _MOST:
        raise Unpredictable("a sum of what equal weights wrote, the later of them having seen what the earlier did")
    return found

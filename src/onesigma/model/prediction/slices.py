"""Sums over positions one after the other, as scans make them: where the positions go together, these are unknown."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from onesigma.model.prediction.kernel import Kernel
from onesigma.model.prediction.signal import Signal
from onesigma.model.prediction.step import Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["Slices", "checked", "slices_of"]

_MOST = 0.2  # share of a sum's variance that may come from what its parts have in common: half of it is the std's error
_MOST_PAIRS = 4096
_CUTS = frozenset(
    {"__getitem__", "select", "unbind", "narrow", "roll", "flip", "index_select", "split", "chunk", "tensor_split"}
)
_KEEPS = frozenset({"view", "reshape", "squeeze", "unsqueeze", "transpose", "permute", "contiguous", "clone", "to"})
_SUMS, _PRODUCTS = frozenset({"add", "sub"}), frozenset({"mul", "div"})
_CELLS = frozenset({"lstm_cell", "gru_cell"})


@dataclass(frozen=True, slots=True)
class Slice:
    """Some positions of a signal.

    Attributes:
        kernel: How its positions go together.
        sites: Which of them these are, element by element; or, with several cuts, each of them once.
        aligned: Whether it is element by element.
    """

    kernel: Kernel
    sites: torch.Tensor
    aligned: bool

    @property
    def positions(self) -> torch.Tensor:
        """Each position once."""
        found: torch.Tensor = torch.unique(self.sites % self.kernel.num_positions)
        return found


Slices = Mapping[object, Slice]


def slices_of(step: Step, lines: Mapping[str, Slices], *, made: Signal) -> Slices:
    """What of other signals a result holds; `lines` tells it of the arguments."""
    op, signals = step.call.op, step.signals
    if op in _CUTS and len(signals) == 1:
        (x,) = signals.values()
        return {x.key: Slice(x.kernel, made.sites, aligned=True)} if _is_cut(x, made) else {}
    if step.call.kind == "linear":
        (held,) = (lines[name] for name in list(signals)[:1])
        weight = step.call.origins.get("weight")
        return {(key, weight): part for key, part in held.items() if len(part.positions) == 1}
    inherits = step.call.kind in ("activation", "norm", "dropout", "scale") or op in _KEEPS
    if inherits or op in _SUMS | _PRODUCTS | _CELLS:
        return _united([lines[name] for name in signals], same=len(signals) == 1 and made.shape == _shape(step))
    return {}


def _shape(step: Step) -> torch.Size:
    return next(iter(step.signals.values())).shape


def _is_cut(x: Signal, made: Signal) -> bool:
    """Whether whole positions were taken out or moved, with all their features."""
    if x.kernel.num_positions < 2 or not made.base_mean.numel():
        return False
    before, after = x.sites, made.sites
    if before.shape == after.shape:
        return not torch.equal(before, after)
    share = len(torch.unique(after)) / len(torch.unique(before))
    return round(x.base_mean.numel() * share) == made.base_mean.numel()


def _united(held: list[Slices], *, same: bool) -> Slices:
    """All parts together; a signal of which several hold something is held at all of these positions."""
    whole: dict[object, Slice] = {}
    for slices in held:
        for key, part in slices.items():
            other = whole.get(key)
            if other is not None:
                part = Slice(part.kernel, torch.cat([other.positions, part.positions]), aligned=False)
            whole[key] = part if same else Slice(part.kernel, part.positions, aligned=False)
    return whole


def checked(step: Step, lines: Mapping[str, Slices]) -> None:
    """Refuse a sum or product of positions that go together, where nothing else has counted that.

    Raises:
        Unpredictable: More than a fifth of the variance of the sum would be missing.
    """
    names = list(step.signals)
    if step.call.op in _CELLS and "input" in names:
        pairs = [("input", name) for name in names if name.startswith("hx")]
    elif step.call.op in _SUMS | _PRODUCTS and len(names) == 2:
        pairs = [(names[0], names[1])]
    else:
        return
    for first, second in pairs:
        a, b = step.signals[first], step.signals[second]
        if a.key is b.key:
            continue
        held = [_with_itself(signal, lines[name]) for signal, name in ((a, first), (b, second))]
        is_cell = step.call.op in _CELLS
        shared = [key for key in held[0] if key in held[1]]
        alike = max((_alike(held[0][key], held[1][key], again=is_cell) for key in shared), default=0.0)
        sizes = (float(a.var.mean()), float(b.var.mean())) if step.call.op in _SUMS else (1.0, 1.0)
        if 2 * alike * (sizes[0] * sizes[1]) ** 0.5 > _MOST * max(sum(sizes), 1e-30):
            raise Unpredictable(f"{step.call.op}: positions that go together are put together one after the other")


def _with_itself(x: Signal, held: Slices) -> Slices:
    return {**held, x.key: Slice(x.kernel, x.sites, aligned=True)} if x.kernel.num_positions > 1 else held


def _alike(first: Slice, second: Slice, *, again: bool) -> float:
    """The largest correlation of a position of one with one of the other; element by element, the mean.

    A position with itself counts `again` where a step reads what an earlier one has read; in a sum, a gate and its
    complement are at one position.
    """
    if not again and first.aligned and second.aligned and first.sites.shape == second.sites.shape:
        a, b = first.sites.reshape(-1), second.sites.reshape(-1)
        step = max(1, len(a) // _MOST_PAIRS)
        found = first.kernel.between(a[::step], b[::step])
        return 0.0 if torch.equal(a, b) else abs(float(found.mean()))
    a, b = first.positions, second.positions
    if len(a) > 1 and len(b) > 1:
        return 0.0  # nobody knows which of them meet
    found = first.kernel.between(a[:, None], b[None, :]).abs()
    return float(found.masked_fill(a[:, None] == b[None, :], float(again)).max())

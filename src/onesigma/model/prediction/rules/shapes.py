"""What moves elements and computes nothing: the call itself is made on means, variances and sites."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from onesigma.model.prediction.kernel import Kernel, blended
from onesigma.model.prediction.laws import Function
from onesigma.model.prediction.rules.linear import grid_sites
from onesigma.model.prediction.signal import Known, Signal
from onesigma.model.prediction.step import Rule, Step
from onesigma.model.prediction.unpredictable import Unpredictable

__all__ = ["MOVES", "SAME", "SHAPES"]

# These give back every element in its place: functions of both are functions of one.
SAME = frozenset({"contiguous", "clone", "alias", "to", "float", "half", "bfloat16", "double", "type"})
SAME |= {"type_as", "cpu", "cuda"}
_SAME_TOO = frozenset({"detach", "data"})  # through these no gradient goes

MOVES = frozenset(
    {"view", "reshape", "flatten", "unflatten", "transpose", "permute", "t", "T", "mT", "H", "mH", "swapaxes"}
    | {"swapdims", "movedim", "moveaxis", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "tile", "ravel"}
    | {"repeat_interleave", "broadcast_to", "atleast_2d", "chunk", "split", "split_with_sizes", "tensor_split"}
    | {"unbind", "select", "narrow", "__getitem__", "index_select", "gather", "take_along_dim", "roll", "flip"}
    | {"rot90", "view_as", "reshape_as", "unfold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"}
    | {"diagonal", "masked_select"}
)


def _moved(step: Step) -> list[Signal]:
    x = step.signal()
    others = [name for name in step.signals if name != "input"]
    if step.call.op in ("view_as", "reshape_as", "expand_as"):
        others = []
    if others:
        raise Unpredictable(f"{step.call.op}: the place of an element depends on the data")
    if len(step.shapes) == 1 and step.shapes[0] == x.shape and step.call.op in ("view", "reshape", "expand"):
        return [x]
    if step.call.op == "view":
        # The tensors of a signal may lie in memory otherwise than the data do: a view of these is a copy of those.
        return step.rearranged(x, function=lambda tensor: tensor.reshape(step.shapes[0]))
    return step.rearranged(x)


def _unchanged(step: Step) -> Signal:
    return step.signal()


def _padded(step: Step) -> Signal:
    """Constant padding has no variance; reflection and repetition move elements."""
    x = step.signal().plain
    if str(step.arguments.get("mode", "constant")) != "constant":
        if not torch.equal(x.sites, grid_sites(x.shape)):
            raise Unpredictable("padding by reflection of what is no map")
        mean, var = step.again(input=x.base_mean), step.again(input=x.base_var)
        return _on_grid(x, mean, var)
    mean = step.again(input=x.base_mean)
    arguments = {"value": 0.0} if "value" in step.arguments else {}
    if "value" not in step.arguments and "3" in step.arguments:
        arguments = {"3": 0.0}
    var = step.again(input=x.base_var, **arguments)
    if x.base_mean.dim() > 2 and torch.equal(x.sites, grid_sites(x.shape)) and mean.shape[:2] == x.shape[:2]:
        return _on_grid(x, mean, var)
    # Sites of the padding: nothing there varies, so any will do.
    return Signal(base_mean=mean, base_var=var, sites=step.again(input=x.sites, **arguments), kernel=x.kernel)


def _on_grid(x: Signal, mean: torch.Tensor, var: torch.Tensor) -> Signal:
    grid = mean.shape[2:]
    kernel = x.kernel.on(*x.shape[2:])
    kernel = Kernel.independent(*grid) if len(grid) < 2 else kernel.resized([1.0] * len(grid), grid)
    return Signal(base_mean=mean, base_var=var, sites=grid_sites(mean.shape), kernel=kernel)


def _filled(step: Step) -> Signal:
    """masked_fill: what is filled in does not vary."""
    x = step.signal().plain
    mask = step.known.get("mask") or step.known.get("1")
    if isinstance(mask, Signal):
        value = step.arguments.get("value", step.arguments.get("2"))
        if not isinstance(value, (int, float)):
            raise Unpredictable("masked_fill: the mask depends on the data")
        return _chosen(mask, torch.tensor(float(value)), step.known["input"])
    if mask is None or not isinstance(step.known["input"], Signal):
        raise Unpredictable("masked_fill: the mask depends on the data")
    mean = step.again(input=x.base_mean)
    var = x.base_var.expand(mean.shape).masked_fill(mask.value.expand(mean.shape), 0.0)
    return Signal(base_mean=mean, base_var=var, sites=x.sites.expand(mean.shape), kernel=x.kernel)


def _triangle(step: Step) -> Signal:
    x = step.signal().plain
    return x.fresh(step.again(input=x.base_mean), step.again(input=x.base_var))


def _where(step: Step) -> Signal:
    condition = step.known.get("condition")
    if isinstance(condition, Signal):
        return _chosen(condition, _option(step, "input"), _option(step, "other"))
    if condition is None:
        raise Unpredictable("where: the condition is no tensor")
    sides = [_side(step, name) for name in ("input", "other")]
    signals = [side for side in sides if isinstance(side, Signal)]
    means = [side.mean if isinstance(side, Signal) else side for side in sides]
    variances = [side.var if isinstance(side, Signal) else torch.zeros(()) for side in sides]
    mean = torch.where(condition.value, means[0], means[1])
    var = torch.where(condition.value, variances[0], variances[1])
    main = max(signals, key=lambda signal: signal.base_mean.numel()).plain
    return Signal(base_mean=mean, base_var=var, sites=main.sites.expand(mean.shape), kernel=main.kernel)


def _option(step: Step, name: str) -> Signal | torch.Tensor:
    found = step.known.get(name)
    return found if isinstance(found, Signal) else step.value(name) if found is not None else _side(step, name)


def _chosen(mask: Signal, first: Signal | torch.Tensor, second: Signal | Known | torch.Tensor) -> Signal:
    """The first where the mask is 1, else the second: a function of what all are made of, or a mixture."""
    second = second.value.float() if isinstance(second, Known) else second
    options = [option for option in (first, second) if isinstance(option, Signal)]
    values = [_as_function(option, mask) for option in (first, second)]
    if options and None not in values:
        decides = mask.function or _itself
        return replace(
            mask,
            function=lambda x: torch.where(decides(x) > 0.5, values[0](x), values[1](x)),  # type: ignore[misc]
            raw=None,
            draws=None,
        )
    p = mask.mean.clamp(0, 1)
    means = [option.mean if isinstance(option, Signal) else option for option in (first, second)]
    variances = [option.var if isinstance(option, Signal) else torch.zeros(()) for option in (first, second)]
    mean = p * means[0] + (1 - p) * means[1]
    var = p * variances[0] + (1 - p) * variances[1] + p * (1 - p) * (means[0] - means[1]).square()
    main = max((*options, mask), key=lambda signal: signal.base_mean.numel()).plain
    return Signal(base_mean=mean, base_var=var, sites=main.sites.expand(mean.shape), kernel=main.kernel)


def _itself(x: torch.Tensor) -> torch.Tensor:
    return x


def _as_function(option: Signal | torch.Tensor, mask: Signal) -> Function | None:
    """Of what the mask is made of, where it is one."""
    if not isinstance(option, Signal):
        return (lambda x: torch.full_like(x, float(option))) if option.numel() == 1 else None
    if option.key is mask.key and option.shape == mask.shape:
        return option.function or _itself
    if option.function is None and list(option.sources) == [mask.key] and option.shape == mask.shape:
        factor = option.sources[mask.key][0]
        if torch.equal(option.base_mean, mask.base_mean * factor):
            return lambda x: x * factor
    return None


def _side(step: Step, name: str) -> Signal | torch.Tensor:
    found = step.known.get(name)
    if isinstance(found, Signal):
        return found.plain
    if found is not None:
        return step.value(name)
    return torch.tensor(float(step.arguments[name]))


def _joined(step: Step) -> Signal:
    """Concatenation: along features the positions stay, along positions there are more of them."""
    parts = [value for name, value in step.known.items() if name.startswith("tensors")]
    template = next(part for part in parts if isinstance(part, Signal))
    signals = [_as_signal(part, template) for part in parts]
    names = [name for name in step.known if name.startswith("tensors")]

    def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
        made: Any = step.again(**dict(zip(names, tensors, strict=True)))
        return made  # type: ignore[no-any-return]

    mean, var = joined([each.base_mean for each in signals]), joined([each.base_var for each in signals])
    sites, kernel = _joined_sites(signals, joined)
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=kernel)


def _as_signal(part: Signal | Known, template: Signal) -> Signal:
    if isinstance(part, Signal):
        return part.plain
    value = part.value.detach().float()
    if value.is_meta:
        raise Unpredictable("a tensor without values is joined to a signal")
    sample = torch.arange(value.shape[0]) if value.dim() else torch.zeros((), dtype=torch.long)
    sites = sample.reshape(-1, *(1 for _ in value.shape[1:])).expand(value.shape)
    return Signal(base_mean=value, base_var=torch.zeros_like(value), sites=sites, kernel=Kernel.independent())


def _joined_sites(signals: list[Signal], joined: Any) -> tuple[torch.Tensor, Kernel]:
    """Where all parts have the same positions and lie along features these stay; else they are put side by side."""
    first = signals[0]
    alike = all(each.kernel.num_positions == first.kernel.num_positions for each in signals)
    if alike:
        sites = joined([each.sites for each in signals])
        rows = [each.sites.select(axis, 0) for each in signals for axis in (_axis_of(signals, joined),)]
        if all(row.shape == rows[0].shape and torch.equal(row, rows[0]) for row in rows):
            return sites, blended([(each.kernel, float(each.base_var.sum())) for each in signals])
    counts = [each.kernel.num_positions for each in signals]
    total, moved, start = sum(counts), [], 0
    values = torch.zeros(total, total)
    for each, count in zip(signals, counts, strict=True):
        moved.append(each.sites // count * total + each.sites % count + start)
        values[start : start + count, start : start + count] = each.kernel.dense().values
        start += count
    return joined(moved), Kernel((total,), values)


def _axis_of(signals: list[Signal], joined: Any) -> int:
    """The axis along which the parts lie, found from the shape of the whole."""
    whole = joined([each.base_mean for each in signals]).shape
    part = signals[0].shape
    if len(whole) != len(part):
        return 0
    return next((axis for axis, (a, b) in enumerate(zip(whole, part, strict=True)) if a != b), 0)


def _assigned(step: Step) -> Signal:
    """x[index] = y, on copies."""
    target, source = step.known.get("input"), step.known.get("2")
    template = next(iter(step.signals.values()))
    base = _as_signal(target, template) if target is not None else None
    if base is None:
        raise Unpredictable("an assignment into something unknown")
    given = source.plain if isinstance(source, Signal) else None
    constant = 0.0 if given is not None else (step.value("2") if source is not None else step.arguments["2"])
    mean, var, sites = base.base_mean.clone(), base.base_var.clone(), base.sites.clone()
    step.again(input=mean, **{"2": given.base_mean if given is not None else constant})
    step.again(input=var, **{"2": given.base_var if given is not None else 0.0})
    kernel = base.kernel
    if given is not None and given.kernel.num_positions >= kernel.num_positions:
        step.again(input=sites, **{"2": given.sites})
        kernel = given.kernel
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=kernel)


def _copied(step: Step) -> Signal:
    """x.copy_(y): y, in the shape of x."""
    source = next((value for name, value in step.known.items() if name != "input"), None)
    if source is None:
        raise Unpredictable("copy of what is no tensor")
    given, shape = _as_signal(source, next(iter(step.signals.values()))), step.shapes[0]
    mean, var, sites = (each.expand(shape) for each in (given.base_mean, given.base_var, given.sites))
    return Signal(base_mean=mean, base_var=var, sites=sites, kernel=given.kernel)


def _scattered(step: Step) -> Signal:
    """index_add, scatter and their like, on copies: what is added there is independent of what was there."""
    found = [(key, value.plain) for key, value in step.signals.items() if key != "input"]
    if len(found) != 1:
        raise Unpredictable(f"{step.call.op} of {len(found)} signals")
    name, given = found[0]
    base = _as_signal(step.known["input"], given)
    mean = step.again(input=base.base_mean.clone(), **{name: given.base_mean})
    var = step.again(input=base.base_var.clone(), **{name: given.base_var})
    kernel = _of_rows(base, given, places=step.again(input=torch.zeros_like(base.sites), **{name: given.sites + 1}))
    return Signal(base_mean=mean, base_var=var, sites=base.sites.expand(mean.shape), kernel=kernel)


def _of_rows(base: Signal, given: Signal, *, places: torch.Tensor) -> Kernel:
    """Where rows came back to the positions that they are of: two rows go together if both came.

    With a share h of the rows, that is h² of all pairs, and h of each row with itself.
    """
    hit = places > 0
    if given.kernel.num_positions < 2 or not torch.equal(places[hit] - 1, base.sites.expand(places.shape)[hit]):
        return base.kernel
    share, size = float(hit.float().mean()), float(given.base_var.mean()) if given.base_var.numel() else 0.0
    alone = Kernel.independent(*given.kernel.grid)
    parts = [(given.kernel, share**2 * size), (alone, share * (1 - share) * size)]
    if base.kernel.num_positions == given.kernel.num_positions:
        parts.append((base.kernel, float(base.base_var.mean())))
    return blended(parts)


SHAPES: Mapping[str, Rule] = {
    **dict.fromkeys(MOVES, _moved),
    **dict.fromkeys((*SAME, *_SAME_TOO), _unchanged),
    "nan_to_num": _unchanged,
    "pad": _padded,
    "masked_fill": _filled,
    "tril": _triangle,
    "triu": _triangle,
    "where": _where,
    **dict.fromkeys(("cat", "stack", "hstack", "vstack", "dstack"), _joined),
    "__setitem__": _assigned,
    "copy": _copied,
    **dict.fromkeys(("index_add", "scatter_add", "scatter", "index_copy", "masked_scatter"), _scattered),
}

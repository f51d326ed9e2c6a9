"""Folding a norm into the layers that alone read its output: W ← W·s, b ← b + W·t."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onesigma.model.graph import Call
from onesigma.norm.fold.affine import Affine, spread
from onesigma.norm.fold.channels import Path, channel_axis, channels_at_input, commutes
from onesigma.norm.fold.flow import Use
from onesigma.norm.fold.layers import Layers
from onesigma.norm.fold.plan import End, Plan, Refusal, Target, refuse_if
from onesigma.norm.fold.weights import shift_through
from onesigma.norm.layers import BatchNormLast

__all__ = ["into_what_comes_after"]


def into_what_comes_after(norm: str, layers: Layers, *, affine: Affine) -> Plan:
    """The plan for a norm before linear layers, convolutions or other norms.

    Raises:
        Refusal: Why there is none.
    """
    ends = [end for use in layers.flow.uses[norm] for end in _sinks(use, layers)]
    by_name = {end.layer: [other for other in ends if other.layer == end.layer] for end in ends}
    for group in by_name.values():
        reason = layers.reason_against(group[0].call, num_runs=len(group))
        refuse_if(bool(reason), reason)
    if len(by_name) == 1 and affine.axis == 1 and bool(affine.shift.any()) and _pads(ends, layers):
        return _with_padding(norm, ends[0], layers, affine=affine)
    targets = [_target(group, layers, affine=affine) for group in by_name.values()]
    return Plan(layer=norm, side="after", targets=tuple(targets), affine=affine)


def _sinks(use: Use, layers: Layers) -> list[End]:
    """On from a norm to every layer that reads its output."""
    assert use.result is not None
    flow, ends = layers.flow, list[End]()
    waiting: list[tuple[int, Path]] = [(use.result, [])]
    while waiting:
        index, path = waiting.pop(0)
        readers = flow.readers(index)
        refuse_if(not readers, "nothing that could take it in reads its output")
        for reader in readers:
            if reader is None:
                raise Refusal("its output leaves the model")
            if isinstance(reader, Use) or (reader.kind == "linear" and len(reader.inputs) == 1):
                ends.append(End(call=reader, path=path, use=use))
                continue
            where = f"{reader.op} in {reader.layer or 'the model'!r}"
            refuse_if(not flow.is_passable(reader), f"its output goes into {where}")
            waiting.append((reader.index, [*path, flow.again[reader.index]]))
    return ends


def _target(ends: Sequence[End], layers: Layers, *, affine: Affine) -> Target:
    call, name = ends[0].call, ends[0].layer
    found = [_channels(end, layers, affine=affine) for end in ends]
    channels = found[0][0]
    same = all(torch.equal(channels, other) for other, _ in found)
    refuse_if(not same, f"{name!r} reads it in different ways")
    if isinstance(call, Use):
        return Target(layer=name, op="batch_norm", channels=channels)
    moved = [
        _moved(end, layers, shift=affine.shift[other], shape=shape)
        for end, (other, shape) in zip(ends, found, strict=True)
    ]
    refuse_if(
        any(part is None for part in moved),
        f"{name!r} pads with zeros or overlaps unevenly, so that what the shift adds depends on the place",
    )
    groups = layers.setting(call, "groups", default=1)
    return Target(layer=name, op=call.op, channels=channels, groups=groups, moved=moved[0])


def _channels(end: End, layers: Layers, *, affine: Affine) -> tuple[Tensor, tuple[int, ...]]:
    """For every input of the layer the channel of the norm, where what lies between lets the map through."""
    start = layers.flow.shape(end.use.result)
    op = _reads_as(end, layers, dimensions=len(start))
    channels, shape = channels_at_input(end.path, shape=start, norm_axis=affine.axis, op=op)
    if channels is None or (isinstance(end.call, Use) and len(shape) != len(start)):
        raise Refusal(f"{end.layer!r} does not read one channel per feature: they lie on another axis or are mixed")
    axis = channel_axis(op, len(shape))
    scale, shift = affine.scale[channels], affine.shift[channels]
    last = spread(scale, axis=axis, dimensions=len(shape)), spread(shift, axis=axis, dimensions=len(shape))
    refuse_if(
        not commutes(end.path, shape=start, first=affine.along(len(start)), last=last),
        f"what lies between it and {end.layer!r} does not commute with it: a max pool and a γ < 0, or zeros put in",
    )
    return channels, shape


def _reads_as(end: End, layers: Layers, *, dimensions: int) -> str:
    """The operation whose input has its channels where this one has them."""
    if isinstance(end.call, Call):
        return end.call.op
    last = dimensions == 2 or isinstance(layers.by_name[end.layer], BatchNormLast)
    return "linear" if last else f"conv{dimensions - 2}d"


def _moved(end: End, layers: Layers, *, shift: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """What the shift adds to the output of the layer; None if that depends on the place."""
    assert isinstance(end.call, Call)
    weight = layers.by_name[end.layer].weight
    assert isinstance(weight, Tensor)
    field = spread(shift, axis=channel_axis(end.call.op, len(shape)), dimensions=len(shape))
    settings = layers.flow.settings[end.call.index]
    return shift_through(end.call.op, weight.detach(), shift=field, shape=shape, settings=settings)


def _pads(ends: Sequence[End], layers: Layers) -> bool:
    """The norm goes straight into one convolution that pads with zeros."""
    call = ends[0].call
    if not isinstance(call, Call) or not call.op.startswith("conv") or "transpose" in call.op:
        return False
    pad = _widths(ends[0], layers)
    is_batch = len(layers.flow.shape(ends[0].use.result)) == len(pad) // 2 + 2
    return (
        is_batch and any(pad) and layers.by_name[call.layer].padding_mode == "zeros" and not any(e.path for e in ends)
    )


def _widths(end: End, layers: Layers) -> tuple[int, ...]:
    """The padding of a convolution as `F.pad` takes it."""
    widths = layers.by_name[end.layer]._reversed_padding_repeated_twice
    assert isinstance(widths, list | tuple)
    return tuple(widths)


def _with_padding(norm: str, end: End, layers: Layers, *, affine: Affine) -> Plan:
    """The plan for a convolution that pads with zeros: its padding moves to the norm's place, with other values."""
    call = end.call
    assert isinstance(call, Call)
    refuse_if(
        bool(((affine.scale == 0) & (affine.shift != 0)).any()),
        f"{end.layer!r} pads with zeros, and a channel with γ = 0 has no value that stands for them",
    )
    weight = layers.by_name[end.layer].weight
    assert isinstance(weight, Tensor)
    # With the right values around it the signal has no border: what the shift adds is the same everywhere.
    moved = (weight.detach().flatten(2).sum(2) * _in_groups(affine.shift, call, layers)).sum(1)
    channels = torch.arange(len(affine.scale))
    groups = layers.setting(call, "groups", default=1)
    target = Target(layer=end.layer, op=call.op, channels=channels, groups=groups, moved=moved)
    return Plan(layer=norm, side="after", targets=(target,), pad=_widths(end, layers), affine=affine)


def _in_groups(shift: Tensor, call: Call, layers: Layers) -> Tensor:
    """(out, in/groups): the shift of every channel that an output reads."""
    groups = layers.setting(call, "groups", default=1)
    num_out = layers.flow.shape(call.index)[1]
    return shift.view(groups, -1).repeat_interleave(num_out // groups, dim=0)

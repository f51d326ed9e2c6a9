"""Folding a norm into the layers whose output it alone reads: W ← s·W, b ← s·b + t."""

from collections.abc import Sequence

import torch
from torch import Tensor

from onesigma.model.graph import Call
from onesigma.norm.fold.affine import Affine, spread
from onesigma.norm.fold.channels import channel_axis, channels_at_output, commutes
from onesigma.norm.fold.flow import Use
from onesigma.norm.fold.layers import Layers
from onesigma.norm.fold.plan import End, Plan, Refusal, Target, at_channels, refuse_if

__all__ = ["into_what_comes_before"]


def into_what_comes_before(norm: str, layers: Layers, *, affine: Affine) -> Plan:
    """The plan for a norm behind linear layers or convolutions.

    Raises:
        Refusal: Why there is none.
    """
    ends = [_source(use, layers) for use in layers.flow.uses[norm]]
    names = dict.fromkeys(end.layer for end in ends)
    targets = [_target([end for end in ends if end.layer == name], layers, affine=affine) for name in names]
    return Plan(layer=norm, side="before", targets=tuple(targets), affine=affine)


def _source(use: Use, layers: Layers) -> End:
    """Back from a norm to the layer whose output it alone reads."""
    flow, path = layers.flow, list[Call]()
    reader: Call | Use = use
    index = flow.origin(use.source)
    while index is not None and index >= 0:
        call = flow.graph.calls[index]
        refuse_if(flow.use_with_result(index) is not None, "it follows a norm that stays")
        refuse_if(flow.readers(index) != [reader], f"the output of {call.name!r} is read elsewhere too")
        if call.kind == "linear":
            return End(call=call, path=[flow.again[step.index] for step in path], use=use)
        refuse_if(not flow.is_passable(call), f"{call.op} in {call.layer or 'the model'!r} comes before it")
        path.insert(0, call)
        reader, index = call, flow.origin(call.inputs[0])
    raise Refusal("nothing comes before it but the model's input")


def _target(ends: Sequence[End], layers: Layers, *, affine: Affine) -> Target:
    call = ends[0].call
    assert isinstance(call, Call)
    reason = layers.reason_against(call, num_runs=len(ends))
    refuse_if(bool(reason), reason)
    found = [_channels(end, affine) for end in ends]
    same = all(torch.equal(found[0], other) for other in found)
    refuse_if(not same, f"{call.layer!r} feeds it in different ways")
    return Target(layer=call.layer, op=call.op, channels=found[0], groups=layers.setting(call, "groups", default=1))


def _channels(end: End, affine: Affine) -> Tensor:
    """For every channel of the layer the one of the norm, where what lies between lets the map through."""
    assert isinstance(end.call, Call)
    start = end.call.shape
    axis = channel_axis(end.call.op, len(start))
    channels, shape = channels_at_output(end.path, shape=start, axis=axis, norm_axis=affine.axis)
    if channels is None:
        raise Refusal(f"its channels are not those of {end.layer!r}: they lie on another axis or are mixed")
    scale, shift = at_channels(affine, channels)
    first = spread(scale, axis=axis, dimensions=len(start)), spread(shift, axis=axis, dimensions=len(start))
    last = affine.along(len(shape))
    refuse_if(
        not commutes(end.path, shape=start, first=first, last=last),
        f"what lies between {end.layer!r} and it does not commute with it: a max pool and a γ < 0, or zeros put in",
    )
    return channels

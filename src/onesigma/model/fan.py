"""fan_in and fan_out by role: how many inputs one output reads, whatever the shape of the weight.

For y = W·x with weights of variance s², Var(y) = fan_in · s² · E[x²], and Var(∂x) = fan_out · s² · Var(∂y). Where
not every output reads alike (a transposed convolution with a stride has phases), both are means over the outputs.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from onesigma._errors import FanError
from onesigma.model.layouts import Fan, fan_of, ratio

__all__ = ["Fan", "fan", "fan_of", "fans"]


def fan(layer: nn.Module, *, layout: str | None = None, blocks: int = 1) -> Fan:
    """fan_in and fan_out of a layer, by its role; for several weights those of the one that reads the layer's input.

    | layer | fan_in | fan_out |
    | --- | --- | --- |
    | Linear, Conv1D of GPT-2 | in | out |
    | Conv, grouped, depthwise | in/groups · ∏kernel | out/groups · ∏(kernel/stride) |
    | ConvTranspose | in/groups · ∏(kernel/stride) | out/groups · ∏kernel |
    | Bilinear | in1 · in2 | 2·in1·in2·out/(in1 + in2) |
    | Embedding, EmbeddingBag (per row looked up) | 1 | embedding_dim |
    | MultiheadAttention, RNN, LSTM, GRU | in | out of one block: query, or one gate |

    Args:
        layer: A layer with weights. Parametrized and sharded weights count by their logical shape.
        layout: Axes of the weight, for layers that onesigma does not know; see `fan_of`.
        blocks: Logical blocks that are stacked along the outputs: 3 for a fused query, key and value.

    Raises:
        FanError: The layer is lazy and has no shape yet, has no weight, or is unknown and has no `layout`.

    Example:
        >>> fan(nn.Conv2d(64, 128, 3, groups=4))
        Fan(fan_in=144, fan_out=288)
        >>> fan(nn.ConvTranspose2d(16, 64, 4, stride=2))
        Fan(fan_in=64, fan_out=1024)
    """
    found = fans(layer, layout=layout, blocks=blocks)
    if not found:
        raise FanError(
            f"{type(layer).__name__}: fan_in needs a weight of at least 2 dimensions, and this layer has none of its "
            "own; ask its sublayers, or leave it out."
        )
    if layout is not None and len(found) > 1:
        raise FanError(
            f"{type(layer).__name__}: one weight is wanted, got {', '.join(found)}; "
            "call fans(layer, layout={name: axes}) and pick one."
        )
    return next(iter(found.values()))


def fans(layer: nn.Module, *, layout: str | Mapping[str, str] | None = None, blocks: int = 1) -> dict[str, Fan]:
    """The fans of every weight that the layer itself owns, by parameter name; empty if it owns none.

    Args:
        layer: As in `fan`. Weights of sublayers are not included.
        layout: Axes of the weights of an unknown layer: one for all, or one per parameter name.
        blocks: As in `fan`.

    Raises:
        FanError: The layer is lazy, or owns a weight of two or more dimensions whose role cannot be told.

    Example:
        >>> fans(nn.LSTM(10, 20))
        {'weight_ih_l0': Fan(fan_in=10, fan_out=20), 'weight_hh_l0': Fan(fan_in=20, fan_out=20)}
    """
    _refuse_lazy(layer)
    if layout is not None:
        return _fans_by_layout(layer, layout, blocks=blocks)
    if (role := _role(layer)) is not None:
        found = role(layer)
        return {name: Fan(each.fan_in, ratio(each.fan_out, blocks)) for name, each in found.items()}
    weights = [name for name, shape in _own_shapes(layer).items() if len(shape) >= 2]
    if weights:
        raise FanError(
            f"{type(layer).__name__}: the role of {', '.join(weights)} is unknown, so fan_in cannot be told from the "
            f'shape {_own_shapes(layer)[weights[0]]}; name its axes, e.g. layout="out in" or "expert out in".'
        )
    return {}


def _own_shapes(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    """Logical shapes of the layer's own parameters; those of a parametrized one are read from its original."""
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters(recurse=False)}
    parametrizations = getattr(layer, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict):
        # With one original the shape is that of the original unless the parametrization changes it, which only
        # evaluating it would tell; known layers are read by their attributes and never come here.
        originals = {n: getattr(each, "original", None) for n, each in parametrizations.items()}
        shapes |= {name: tuple(original.shape) for name, original in originals.items() if original is not None}
    return shapes


def _fans_by_layout(layer: nn.Module, layout: str | Mapping[str, str], *, blocks: int) -> dict[str, Fan]:
    shapes = _own_shapes(layer)
    if isinstance(layout, str):
        layout = {name: layout for name, shape in shapes.items() if len(shape) >= 2}
    if missing := [name for name in layout if name not in shapes]:
        raise FanError(
            f"{type(layer).__name__} has no parameter {', '.join(missing)}; it has {', '.join(shapes) or 'none'}."
        )
    return {name: fan_of(shapes[name], layout=axes, blocks=blocks) for name, axes in layout.items()}


def _refuse_lazy(layer: nn.Module) -> None:
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
        raise FanError(f"{type(layer).__name__} is lazy and has no shape yet; run one batch through the model first.")


def _role(layer: nn.Module) -> Callable[[Any], dict[str, Fan]] | None:
    for kind, role in _ROLES:
        if isinstance(layer, kind):
            return role
    if type(layer).__name__ == "Conv1D" and len(_own_shapes(layer).get("weight", ())) == 2:
        return lambda conv: {"weight": fan_of(_own_shapes(conv)["weight"], layout="in out")}
    weight = _own_shapes(layer).get("weight")
    if weight is not None and weight == (getattr(layer, "out_features", None), getattr(layer, "in_features", None)):
        return _linear
    return None


def _linear(layer: Any) -> dict[str, Fan]:
    return {"weight": Fan(layer.in_features, layer.out_features)}


def _bilinear(layer: nn.Bilinear) -> dict[str, Fan]:
    # An input of the first side reads out·in2 weights, one of the second out·in1: the mean over all inputs.
    pairs, sides = layer.in1_features * layer.in2_features, layer.in1_features + layer.in2_features
    return {"weight": Fan(pairs, ratio(2 * pairs * layer.out_features, sides))}


def _conv(layer: Any) -> dict[str, Fan]:
    kernel, strides = math.prod(layer.kernel_size), math.prod(layer.stride)
    down, up = (strides, 1) if layer.transposed else (1, strides)
    return {
        "weight": Fan(
            ratio(layer.in_channels * kernel, layer.groups * down),
            ratio(layer.out_channels * kernel, layer.groups * up),
        )
    }


def _embedding(layer: Any) -> dict[str, Fan]:
    # A lookup reads one row: neither the vocabulary nor the width is summed over.
    return {"weight": Fan(1, layer.embedding_dim)}


def _attention(layer: nn.MultiheadAttention) -> dict[str, Fan]:
    width = layer.embed_dim
    # torch's own flag; the three projections are one packed weight when keys and values have the query's width.
    if layer._qkv_same_embed_dim:
        return {"in_proj_weight": Fan(width, width)}
    read = {"q_proj_weight": width, "k_proj_weight": layer.kdim, "v_proj_weight": layer.vdim}
    return {name: Fan(num_in, width) for name, num_in in read.items()}


def _recurrent(layer: nn.RNNBase) -> dict[str, Fan]:
    hidden, passed = layer.hidden_size, layer.proj_size or layer.hidden_size
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    found: dict[str, Fan] = {}
    for level in range(layer.num_layers):
        num_in = layer.input_size if level == 0 else passed * len(directions)
        for suffix in (f"l{level}{direction}" for direction in directions):
            found[f"weight_ih_{suffix}"] = Fan(num_in, hidden)
            found[f"weight_hh_{suffix}"] = Fan(passed, hidden)
            if layer.proj_size:
                found[f"weight_hr_{suffix}"] = Fan(hidden, passed)
    return found


def _cell(layer: nn.RNNCellBase) -> dict[str, Fan]:
    hidden = layer.hidden_size
    return {"weight_ih": Fan(layer.input_size, hidden), "weight_hh": Fan(hidden, hidden)}


_ROLES: tuple[tuple[type | tuple[type, ...], Callable[[Any], dict[str, Fan]]], ...] = (
    (nn.Linear, _linear),
    (nn.Bilinear, _bilinear),
    (nn.modules.conv._ConvNd, _conv),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    (nn.MultiheadAttention, _attention),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _cell),
)

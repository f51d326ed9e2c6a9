"""fan_in and fan_out of a bare weight, from the names of its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onesigma._errors import FanError

__all__ = ["Fan", "fan_of", "ratio"]


@dataclass(frozen=True, slots=True)
class Fan:
    """Inputs per output and outputs per input; whole numbers, except where a stride makes them fractional.

    Attributes:
        fan_in: Inputs that one output reads, on average over the outputs.
        fan_out: Outputs that read one input, on average over the inputs.

    Example:
        >>> Fan(3, 8)
        Fan(fan_in=3, fan_out=8)
    """

    fan_in: float
    fan_out: float


def fan_of(
    shape: Sequence[int],
    *,
    layout: str | None = None,
    groups: int = 1,
    stride: int | Sequence[int] = 1,
    transposed: bool = False,
    blocks: int = 1,
) -> Fan:
    """fan_in and fan_out of a bare weight, from its logical shape and the names of its axes.

    Args:
        shape: Logical shape of the weight, not that of a shard.
        layout: Names of the axes, in order: "in", "out", "expert" (a batch of weights), "kernel", and "..." for all
            that remain, which are kernel axes. Two axes need no layout and are "out in"; more are refused without.
        groups: As in the convolution that reads the weight.
        stride: As in the convolution that reads the weight: a number or one per kernel axis.
        transposed: The weight belongs to a transposed convolution.
        blocks: Logical blocks that are stacked along the outputs.

    Raises:
        FanError: An axis is not named or a name is unknown; or more than two axes and no layout.

    Example:
        >>> fan_of((8, 1024, 512), layout="expert out in")
        Fan(fan_in=512, fan_out=1024)
        >>> fan_of((64, 3, 7, 7), layout="out in ...", stride=2)
        Fan(fan_in=147, fan_out=784)
    """
    size = _sizes(tuple(shape), layout=layout)
    strides = stride ** size["num_kernel"] if isinstance(stride, int) else math.prod(stride)
    num_in, num_out, kernel = size["in"], size["out"], size["kernel"]
    if transposed:
        return Fan(ratio(num_in * kernel, groups * strides), ratio(num_out * kernel, blocks))
    return Fan(ratio(num_in * kernel, 1), ratio(num_out * kernel, groups * strides * blocks))


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, as an int where it is whole."""
    quotient = numerator / denominator
    return int(quotient) if quotient.is_integer() else quotient


def _sizes(shape: tuple[int, ...], *, layout: str | None) -> dict[str, int]:
    """Product of the axes of each name, and the number of kernel axes."""
    if layout is None and len(shape) != 2:
        raise FanError(
            f"a weight of shape {shape} may be a convolution's or a batch of experts, or no weight at all; "
            'name its axes, e.g. layout="out in ..." or "expert out in".'
        )
    axes = (layout or "out in").split()
    if "..." in axes:
        where = axes.index("...")
        axes[where : where + 1] = ["kernel"] * (len(shape) - len(axes) + 1)
    if len(axes) != len(shape) or not {"in", "out"} <= set(axes) <= {"in", "out", "kernel", "expert"}:
        raise FanError(
            f'layout="{layout}" does not name the {len(shape)} axes of a weight of shape {shape}; '
            'use "in", "out", "kernel", "expert" once per axis, with "in" and "out" among them.'
        )
    sizes = {name: math.prod(n for axis, n in zip(axes, shape, strict=True) if axis == name) for name in set(axes)}
    return {"kernel": 1, **sizes, "num_kernel": axes.count("kernel")}

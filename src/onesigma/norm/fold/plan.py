"""What becomes of one norm: into which layers it is folded, or why it stays."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from onesigma.model.graph import Call
from onesigma.norm.fold.affine import Affine
from onesigma.norm.fold.channels import Path
from onesigma.norm.fold.flow import Use

__all__ = ["End", "Plan", "Refusal", "Target", "at_channels", "refuse_if"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Target:
    """A layer that takes a norm in.

    Attributes:
        layer: Its name.
        op: "linear", "conv2d", …, or "batch_norm".
        channels: For each of its output channels (norm after it) or inputs (norm before it), the channel of the norm;
            −1 if none.
        groups: Of a convolution.
        moved: (out,) what the shift of a norm before it adds to the bias; None otherwise.
    """

    layer: str
    op: str
    channels: Tensor
    groups: int = 1
    moved: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """What becomes of one norm.

    Attributes:
        layer: Name of the norm.
        side: "before": into the layers before it; "after": into those after it; "" if it stays.
        targets: These layers.
        pad: The widths of a convolution's padding, which the norm's place takes over; empty otherwise.
        affine: What the norm does.
        reason: Why it stays.
    """

    layer: str
    side: Literal["before", "after", ""] = ""
    targets: tuple[Target, ...] = ()
    pad: tuple[int, ...] = ()
    affine: Affine | None = field(default=None, repr=False)
    reason: str = ""

    @property
    def into(self) -> tuple[str, ...]:
        """Names of the layers that take it in."""
        return tuple(target.layer for target in self.targets)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class End:
    """One way from a run of a norm to a layer: the call at its end and what lies between, in execution order."""

    call: Call | Use
    path: Path
    use: Use

    @property
    def layer(self) -> str:
        """Name of the layer, or of the other norm."""
        return self.call.norm if isinstance(self.call, Use) else self.call.layer


class Refusal(Exception):  # noqa: N818
    """Why a fold cannot be made: caught where the plan is made."""


def refuse_if(condition: bool, reason: str) -> None:
    """Raise a Refusal."""
    if condition:
        raise Refusal(reason)


def at_channels(affine: Affine, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of a layer; 1 and 0 where it does not reach the norm."""
    reached = channels >= 0
    scale, shift = affine.scale[channels.clamp_min(0)], affine.shift[channels.clamp_min(0)]
    return torch.where(reached, scale, 1.0), torch.where(reached, shift, 0.0)

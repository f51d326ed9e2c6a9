"""`keep_float32_`: BatchNorm statistics in float32 in a model of halves."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from onesigma.model.edits import Edits
from onesigma.model.names import unwrapped
from onesigma.norm.running import normalized, weight_and_bias
from onesigma.norm.statistics import BatchNorm, batch_norms
from onesigma.norm.variants import Variant, convert_, kinds_of

__all__ = ["Float32Statistics", "keep_float32_"]

_HALVES = (torch.float16, torch.bfloat16)


class Float32Statistics(Variant, BatchNorm):
    """What a BatchNorm is besides what it was: its running statistics stay float32 in `half()`, `bfloat16()`, `to()`.

    Input, weight and bias may be halves. In bfloat16 running statistics stall: an update by less than 1/256 of what is
    there is rounded away. In float16 a variance above 65504 is infinite, and eval then gives 0.
    """

    takes_statistics = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalize as `nn.BatchNorm` does, with γ and β as float32."""
        if any(kind.takes_statistics and not kind.outer for kind in kinds_of(self)):
            return super().forward(input)  # each of them reads γ and β as float32
        weight, bias = weight_and_bias(self)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        return normalized(self, input, weight=weight, bias=bias)

    def put_off(self) -> None:
        """Be again what the layer was, running statistics in the dtype of γ."""
        super().put_off()
        if self.weight is not None and self.weight.dtype in _HALVES:
            self.to(self.weight.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        for name, buffer in self._buffers.items():
            kept = before[name]
            if buffer is not None and kept is not None and buffer.dtype in _HALVES:
                self._buffers[name] = kept.to(buffer.device, torch.promote_types(kept.dtype, torch.float32))
        return self


def keep_float32_(model: nn.Module) -> Edits:
    """Let every BatchNorm of a model keep its running statistics in float32, now and when the model is cast to halves.

    Best called before `model.half()`: statistics that are halves already have lost digits, which only `calibrate_`
    gives back. All else of a layer stays as it was; `plain_` or `undo` puts the change off, not the dtype.

    Warns:
        NoEffectWarning: No layer could be changed.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> _ = keep_float32_(model)
        >>> model = model.bfloat16()
        >>> model[1].running_var.dtype, model[1].weight.dtype, model(torch.randn(2, 4).bfloat16()).dtype
        (torch.float32, torch.bfloat16, torch.bfloat16)
    """
    edits = convert_(model, Float32Statistics, action="keep float32")
    norms = batch_norms(unwrapped(model))
    return Edits(edits.items, (*edits.undo_steps, *(_widen(norms[edit.layer]) for edit in edits.applied)))


def _widen(norm: nn.Module) -> Callable[[], None]:
    before = {name: buffer for name, buffer in norm._buffers.items() if buffer is not None and buffer.dtype in _HALVES}
    norm._buffers.update({name: buffer.float() for name, buffer in before.items()})
    return lambda: norm._buffers.update(before)

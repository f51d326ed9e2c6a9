"""The listener that measures: signals of every call, gradients through hooks, activity of activations."""

from functools import partial
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from onesigma.measure.activity import Units, activity_row
from onesigma.measure.losses import chance_of, target_range
from onesigma.measure.norms import NormSite, norm_row
from onesigma.model.batches import tensors_in
from onesigma.model.capture import Listener, Site
from onesigma.model.graph import Call
from onesigma.model.signals import Ledger
from onesigma.model.state import version_of

__all__ = ["Watcher"]

_WITH_HISTOGRAM = frozenset({"linear", "activation"})
# Operations whose result, where it has as many values as their input, has the very same ones.
_REARRANGING_TEXT = """
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze atleast_1d atleast_2d atleast_3d expand
    expand_as broadcast_to repeat tile transpose permute t T mT H mH adjoint swapaxes swapdims movedim moveaxis
    view_as_real view_as_complex chunk split split_with_sizes tensor_split unbind hsplit vsplit dsplit unsafe_split
    unsafe_chunk roll flip fliplr flipud rot90 pixel_shuffle pixel_unshuffle channel_shuffle sort msort contiguous clone
    detach data alias to type type_as float double half bfloat16 cpu cuda resolve_conj resolve_neg
"""
_REARRANGING = frozenset(_REARRANGING_TEXT.split())


class Watcher(Listener):
    """Reduces each tensor once, whether it is one call's output, another's input, or both."""

    def __init__(self, ledger: Ledger, *, num_samples: int) -> None:
        self.inputs: dict[int, int] = {}
        self.outputs: dict[int, int] = {}
        self.gradients: dict[int, int] = {}
        self.activities: dict[int, tuple[int, Units]] = {}
        self.norms: dict[int, tuple[int | None, NormSite]] = {}
        self.chances: dict[int, tuple[int, str]] = {}
        self.ranges: dict[int, int] = {}
        self.num_classes = 0
        self._ledger = ledger
        self._num_samples = num_samples
        self._slots: Any = WeakTensorKeyDictionary()
        self._drawn: set[int] = set()
        self._handles: list[Any] = []
        self._units: dict[int, bool] = {}

    def before(self, site: Site) -> None:
        """Measure what goes in, before the call can write to it."""
        tensor = _main_input(site)
        if tensor is None:
            return
        if site.call.kind == "loss":
            self._see_loss(site)
        slot = self._known(tensor) if site.call.kind == "shape" else self._slot(tensor)
        if slot is not None:
            self.inputs[site.call.index] = slot
        if site.call.function is not None and site.call.kind == "activation":
            self._see_activity(site.call, tensor)
        if site.call.kind == "norm":
            self._see_norm(site)

    def after(self, site: Site, output: Any) -> Any:
        """Measure what came out, and its gradient when it comes."""
        call, made = site.call, next(filter(_is_signal, tensors_in(output)), None)
        self._units[call.index] = self._channels_first(call)
        if made is None:
            return output
        index = call.index
        if call.kind == "shape" and index in self.inputs and _same_values(site, made):
            # The same numbers in another shape.
            self.outputs[index] = self._remembered(made, self.inputs[index])
            return output
        self.outputs[index] = self._remembered(made, self._add(made, histogram=call.kind in _WITH_HISTOGRAM))
        if made.requires_grad and call.kind != "shape":
            histogram = call.kind in _WITH_HISTOGRAM
            hook = partial(self._see_gradient, index, histogram=histogram)
            self._handles.append(made.register_hook(hook))  # type: ignore[no-untyped-call]
        return output

    def release(self) -> None:
        """Take the hooks off again: an output may outlive the pass."""
        for handle in self._handles:
            handle.remove()

    def _see_gradient(self, index: int, gradient: torch.Tensor, *, histogram: bool) -> None:
        """A sum hands the gradient it gets on to all that it adds up: it is one tensor, measured once."""
        slot = self._known(gradient)
        if slot is None or (histogram and slot not in self._drawn):
            slot = self._remembered(gradient, self._add(gradient, histogram=histogram))
        self.gradients[index] = slot

    def _slot(self, tensor: torch.Tensor) -> int:
        known = self._known(tensor)
        return self._remembered(tensor, self._add(tensor, histogram=False)) if known is None else known

    def _known(self, tensor: torch.Tensor) -> int | None:
        """Its slot, unless somebody has written to it since, be it through a view."""
        slot, version = self._slots.get(tensor, (None, 0))
        return slot if version == version_of(tensor) else None

    def _remembered(self, tensor: torch.Tensor, slot: int) -> int:
        self._slots[tensor] = slot, version_of(tensor)
        return slot

    def _add(self, tensor: torch.Tensor, *, histogram: bool) -> int:
        slot = self._ledger.add(tensor, num_samples=self._num_samples, histogram=histogram)
        if histogram:
            self._drawn.add(slot)
        return slot

    def _channels_first(self, call: Call) -> bool:
        """Whether the units of this call's output lie along axis 1, as after a convolution."""
        if call.kind == "linear":
            return call.op.startswith("conv")
        return self._units.get(call.inputs[0] if call.inputs else -1, False)

    def _see_activity(self, call: Call, tensor: torch.Tensor) -> None:
        axis = 1 if tensor.dim() > 2 and (self._channels_first(call) or tensor.dim() > 3) else -1
        found = activity_row(call, tensor, axis=axis)
        if found is not None:
            row, units = found
            self.activities[call.index] = (self._ledger.note(row), units)

    def _see_norm(self, site: Site) -> None:
        found = norm_row(site)
        if found is not None:
            known, row = found
            self.norms[site.call.index] = (None if row is None else self._ledger.note(row), known)

    def _see_loss(self, site: Site) -> None:
        found = chance_of(site)
        if found is not None:
            value, name, self.num_classes = found
            self.chances[site.call.index] = (self._ledger.note(value), name)
        if (bounds := target_range(site)) is not None:
            self.ranges[site.call.index] = self._ledger.note(bounds)


def _is_signal(tensor: torch.Tensor) -> bool:
    """It carries values that can be read: not those of one sample inside `torch.vmap`, nor of a fake tensor."""
    has_values = not torch._C._functorch.is_functorch_wrapped_tensor(tensor) and tensor.device.type != "meta"
    return has_values and (tensor.is_floating_point() or tensor.is_complex())


def _main_input(site: Site) -> torch.Tensor | None:
    """The first tensor that carries data, as an argument of the call."""
    weights = {id(tensor) for tensor in site.weights.values()}
    data = (tensor for tensor in site.tensors.values() if id(tensor) not in weights)
    return next(filter(_is_signal, data), None)


def _same_values(site: Site, made: torch.Tensor) -> bool:
    """Not so of a part, of what was filled, masked or written to, or of what no longer fits into a narrower type."""
    tensor = _main_input(site)
    if tensor is None or site.call.op not in _REARRANGING or made.numel() != tensor.numel():
        return False
    return torch.promote_types(tensor.dtype, made.dtype) == made.dtype

"""Proofs by running: a float64 twin of a model, on which a change can be tried before it is made."""

import copy
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import CaptureError, ModelError
from onesigma.model.batches import Batch, tensors_in
from onesigma.model.capture import Listener, Site, capture, recording
from onesigma.model.graph import Graph
from onesigma.model.names import module_names
from onesigma.model.state import preserved
from onesigma.norm.removal import bias_of
from onesigma.norm.statistics import eager

__all__ = ["Twin", "outputs_of", "relative_change"]

_SEED = 0


class Twin:
    """A copy of a model in float64 and in training mode, fed with one batch; the model itself is not touched.

    A model that arrives in eval mode is looked at as it would train; in one that trains, norms that are in eval mode
    are frozen on purpose and stay so.
    """

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
            raise ModelError(f"{type(model).__name__} has meta tensors, which hold no values; load its weights first.")
        try:
            twin = copy.deepcopy(model)
        except Exception as error:
            raise ModelError(f"{type(model).__name__} cannot be copied for a proof ({error}).") from error
        self.module = (twin if model.training else twin.train()).double()
        self.batch = Batch(
            args=tuple(map(_double, batch.args)),
            kwargs={name: _double(value) for name, value in batch.kwargs.items()},
            num_samples=batch.num_samples,
        )

    @cached_property
    def graph(self) -> Graph:
        """The graph of the training pass."""
        with preserved(self.module), torch.no_grad():
            return capture(self.module, self.batch)

    @cached_property
    def first_run(self) -> tuple[torch.Tensor, ...]:
        """What `run` gives before anything is tried."""
        return self.run()

    @cached_property
    def _modules(self) -> Mapping[str, nn.Module]:
        return {name: module for module, name in module_names(self.module).items()}

    def run(self) -> tuple[torch.Tensor, ...]:
        """The output of one training pass, and what every norm in it made of its input before its own γ and β.

        Same random numbers every time; nothing of the twin changes.
        """
        normalized = _Normalized()
        with preserved(self.module), torch.no_grad():
            torch.manual_seed(_SEED)
            with recording(self.module, listeners=[normalized]) as recorder:
                output = recorder.run(self.batch)
        return (*_floats(output), *normalized.found)

    def change_when_shifted(self, layer: str) -> float:
        """Largest change of what `run` gives, over its largest value, when the bias of `layer` moves by about one std.

        The norms are looked at as well as the output: where a later γ is zero the output would show nothing.
        """
        module = self._modules[layer]
        bias, first = bias_of(module), self.first_run
        saved = bias.detach().clone()
        generator = torch.Generator().manual_seed(_SEED)
        shift = torch.randn(bias.shape, generator=generator, dtype=torch.float64).to(bias.device) * self._scale(layer)
        with torch.no_grad():
            bias.add_(shift)
            moved = relative_change(first, self.run())
            bias.copy_(saved)
        return moved

    def bias_gradient(self, layer: str) -> float:
        """Largest gradient of the bias over that of the weight, for a random direction of the output."""
        bias = self._gradients[layer + ".bias"]
        # Of a weight that is computed, the largest of what it is computed from.
        names = (name for name in self._gradients if name.startswith(layer + ".") and name != layer + ".bias")
        weight = max((self._gradients[name] for name in names), default=0.0)
        return bias / weight if weight else bias

    @cached_property
    def _gradients(self) -> Mapping[str, float]:
        with preserved(self.module), torch.enable_grad():
            outputs = [tensor for tensor in _output(self.module, self.batch) if tensor.requires_grad]
            generator = torch.Generator().manual_seed(_SEED)
            directions = [torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in outputs]
            torch.autograd.backward(outputs, directions)
            return {
                f"{name}.{key}": float(value.grad.abs().max()) if value.grad is not None else 0.0
                for name, module in self._modules.items()
                for key, value in module._parameters.items()
                if value is not None
            }

    def _scale(self, layer: str) -> float:
        """A step worth noticing: the bias' own size, and at least that of the weights' rows."""
        module = self._modules[layer]
        weight, bias = module.weight, bias_of(module).detach()
        assert isinstance(weight, torch.Tensor)
        return float(torch.maximum(weight.detach().flatten(1).norm(dim=1).max(), bias.abs().max()).clamp_min(1e-3))


def outputs_of(model: nn.Module, batch: Batch, *, modes: tuple[bool, ...] = (True, False)) -> tuple[torch.Tensor, ...]:
    """What a model gives for a batch, in training and in eval mode; nothing of it changes."""
    found: list[torch.Tensor] = []
    for training in modes:
        with preserved(model), torch.no_grad():
            if model.training != training:
                model.train(training)
            found.extend(_output(model, batch))
    return tuple(found)


def relative_change(before: tuple[torch.Tensor, ...], after: tuple[torch.Tensor, ...]) -> float:
    """max |after − before| / max |before|, the largest over all tensors; NaN counts as infinite."""
    changes = [
        float((new.double() - old.double()).abs().max() / old.double().abs().max().clamp_min(1e-30))
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return max((float("inf") if change != change else change for change in changes), default=0.0)


class _Normalized(Listener):
    """Keeps what every batch or instance norm makes of its input, without γ and β."""

    def __init__(self) -> None:
        self.found: list[torch.Tensor] = []

    def before(self, site: Site) -> None:
        """Normalize the input once more: batch statistics where the norm takes them, else its running ones."""
        given = site.arguments
        if site.call.op == "batch_norm":
            training = bool(given.get("training")) or given["running_mean"] is None
            mean, variance = (None, None) if training else (given["running_mean"], given["running_var"])
            self.found.append(F.batch_norm(given["input"], mean, variance, training=training))
        elif site.call.op == "instance_norm" and given.get("use_input_stats", True):
            self.found.append(F.instance_norm(given["input"]))


def _output(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(_SEED)
    try:
        with eager():
            return _floats(model(*batch.args, **batch.kwargs))
    except Exception as error:
        raise CaptureError(f"{type(model).__name__} raised {type(error).__name__}: {error}") from error


def _floats(output: Any) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.clone() for tensor in tensors_in(output) if tensor.is_floating_point())


def _double(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, (tuple, list)):
        return type(value)(map(_double, value))
    if isinstance(value, Mapping):
        return {name: _double(item) for name, item in value.items()}
    return value

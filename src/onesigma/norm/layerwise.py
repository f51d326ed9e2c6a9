"""Every normalizing layer by itself: what its output for one sample owes to the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from onesigma.model.capture import Listener, Site
from onesigma.model.names import module_names
from onesigma.norm.effects import effect_ratio
from onesigma.norm.probes import Rows, coupling_ratio

__all__ = ["LayerProbe"]

# Samples whose derivatives are taken where they are many, and that are replaced.
_MAX_SAMPLES = 4

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)

_Run = Callable[[torch.Tensor], torch.Tensor]


class LayerProbe(Listener):
    """Runs every norm of a model on its own, on what it is fed with: modules as a whole, functions call by call.

    Where the input of a norm has no axis of the batch's samples, as rows of flattened sequences have none, each of its
    rows counts as a sample.

    Attributes:
        found: Layer → gradient and effect, as `Coupling` has them; of several runs the largest.
    """

    def __init__(self, *, num_samples: int) -> None:
        self.num_samples = num_samples
        self.found: dict[str, tuple[float, float]] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """While open, norms that are modules are looked at before they run."""
        names = module_names(model)
        handles = [
            module.register_forward_pre_hook(self._looker(names[module]), with_kwargs=True)
            for module in names
            if isinstance(module, _NORMS)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def before(self, site: Site) -> None:
        """A function is about to run: run it on its own, unless it is part of a module that was looked at."""
        signal = site.arguments.get("input")
        if site.call.kind == "norm" and not isinstance(site.module, _NORMS) and isinstance(signal, torch.Tensor):
            self._look(site.call.layer, signal, lambda x: site.function(**{**site.arguments, "input": x}))

    def _looker(self, name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = list(args) or [kwargs.get("input", kwargs.get("x"))]
            others = {} if not args and len(kwargs) == 1 else kwargs
            if isinstance(given[0], torch.Tensor) and (args or len(kwargs) == 1):
                with torch._C.DisableTorchFunction():  # what is looked at is no part of the graph
                    self._look(name, given[0], lambda x: _run_alone(module, x, *given[1:], **others))

        return look

    def _look(self, name: str, signal: torch.Tensor, run: _Run) -> None:
        given = Rows.of(signal.detach().clone().requires_grad_(), num_samples=self.num_samples)
        num_samples = self.num_samples
        if given is None and signal.is_floating_point() and signal.dim() > 1 and len(signal) > 1:
            given, num_samples = Rows(signal.detach().clone().requires_grad_(), 0), len(signal)
        if given is not None:
            numbers = _gradient(run, given, num_samples=num_samples), _effect(run, given, num_samples=num_samples)
            before = self.found.get(name, (0.0, 0.0))
            self.found[name] = max(numbers[0], before[0]), max(numbers[1], before[1])


def _run_alone(module: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The output of a layer without its hooks, its buffers left alone."""
    own = dict(module._buffers)
    module._buffers.update({name: None if buffer is None else buffer.clone() for name, buffer in own.items()})
    try:
        output: torch.Tensor = module.forward(*args, **kwargs)
        return output
    finally:
        module._buffers.update(own)


def _gradient(run: _Run, given: Rows, *, num_samples: int) -> float:
    rows = [Rows(run(given.tensor), given.axis)]
    return coupling_ratio(rows, [given], num_samples=num_samples, max_samples=_MAX_SAMPLES)


@torch.no_grad()
def _effect(run: _Run, given: Rows, *, num_samples: int) -> float:
    def replaced(j: int | None) -> list[Rows]:
        signal = given.tensor.detach().clone()
        if j is not None:
            signal.select(given.axis, j).copy_(given.tensor.select(given.axis, (j + 1) % num_samples))
        return [Rows(run(signal), given.axis)]

    return effect_ratio(replaced, num_samples=num_samples, max_samples=_MAX_SAMPLES)

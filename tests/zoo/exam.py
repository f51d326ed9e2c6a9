"""The examination of one model of the zoo: initialize it, then measure every linear again, from outside."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from onesigma.init.initialize import initialize_
from onesigma.model.batches import first_batch
from onesigma.model.capture import Listener, Site, capture
from onesigma.model.edits import Edits
from onesigma.model.graph import Graph
from onesigma.model.names import module_names, parameter_names, unwrapped
from onesigma.model.state import fingerprint, preserved

__all__ = ["Examined", "cost", "examine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What came of one model.

    Attributes:
        stds: Name of each linear call that was set → the std of its output, measured again.
        exceptions: Name of each linear call that was not → why.
        unexplained: Linear calls that were neither set nor refused, and weights that nobody speaks of.
        unknown: Names of the functions in the graph that onesigma does not know.
        untouched: The model is bit for bit what it was, after `undo`.
    """

    stds: dict[str, float]
    exceptions: dict[str, str]
    unexplained: tuple[str, ...]
    unknown: tuple[str, ...]
    untouched: bool

    @property
    def off(self) -> dict[str, float]:
        """The linears whose std is not 1 ± 0.1 %."""
        return {name: std for name, std in self.stds.items() if not abs(std - 1) <= 1e-3}


class _Stds(Listener):
    """The std of every linear's output, in double precision, as `measure` is not asked here."""

    def __init__(self) -> None:
        self.stds: dict[str, float] = {}

    def after(self, site: Site, output: Any) -> Any:
        if site.call.kind == "linear":
            self.stds[site.call.name] = float(output.double().std(correction=0))
        return output


def examine(model: nn.Module, batch: Any) -> Examined:
    """Initialize, measure again, undo."""
    before = fingerprint(model)
    edits = initialize_(model, batch)
    listener = _Stds()
    with preserved(model), torch.no_grad():
        graph = capture(model, batch, listeners=[listener])
    exceptions = _exceptions(edits)
    unexplained = _unexplained(model, batch, edits, graph)
    edits.undo()
    return Examined(
        stds={name: std for name, std in listener.stds.items() if name not in exceptions},
        exceptions=exceptions,
        unexplained=tuple(unexplained),
        unknown=tuple(str(call.attributes.get("function", call.op)) for call in graph.of_kind("unknown")),
        untouched=fingerprint(model) == before,
    )


def _unexplained(model: nn.Module, batch: Any, edits: Edits, graph: Graph) -> list[str]:
    """Linear calls without an edit, layers that a hook saw and the graph did not, and weights without a word."""
    named = {edit.layer for edit in edits}
    linears = list(graph.of_kind("linear"))
    read = {name for call in graph.calls for names in call.origins.values() for name in names}
    weights = [name for name, value in parameter_names(unwrapped(model)).items() if value.dim() > 1]
    found = [call.name for call in linears if call.name not in named]
    found += [name for name in _linears_that_ran(model, batch) if not any(name == call.layer for call in linears)]
    return found + [name for name in weights if name not in read and name.rpartition(".")[0] not in named]


def _exceptions(edits: Edits) -> dict[str, str]:
    unset = (
        edit for edit in edits if not edit.applied or edit.after is None or "only the analytic draw" in edit.reason
    )
    return {edit.layer: edit.reason for edit in unset}


def _linears_that_ran(model: nn.Module, batch: Any) -> list[str]:
    """Seen by hooks, not by the graph."""
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for module, name in module_names(unwrapped(model)).items()
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    fed = first_batch(batch)
    try:
        with preserved(model), torch.no_grad():
            model(*fed.args, **fed.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(ran))


def cost(model: nn.Module, batch: Any, *, times: int = 3) -> float:
    """CPU time of `initialize_` in plain forward passes of the same batch; the least of several, interleaved."""
    fed = first_batch(batch)

    @torch.no_grad()
    def forward() -> None:
        model(*fed.args, **fed.kwargs)

    forward()
    passes, inits = math.inf, math.inf
    for _ in range(times):
        passes = min(passes, _seconds(forward))
        inits = min(inits, _seconds(lambda: initialize_(model, batch)))
    return inits / passes


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start

"""Where a norm belongs: the signals before and after nonlinearities, and the modules at which they can be reached."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from onesigma._errors import ConfigError
from onesigma.model.batches import Batch
from onesigma.model.capture import Listener, Recorder, Site, recording
from onesigma.model.graph import Call, Graph
from onesigma.model.names import module_names
from onesigma.model.state import preserved
from onesigma.norm.slots import Slot

__all__ = ["Place", "Scale", "Seen", "look", "places_in"]

_SEED = 0

# Pointwise functions that are arithmetic: a norm there is put only where it is asked for by name.
_ARITHMETIC = frozenset({"exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "pow", "abs"})


class Scale(NamedTuple):
    """Mean and std of a signal."""

    mean: float
    std: float

    @classmethod
    def of(cls, signal: torch.Tensor) -> "Scale":
        """Over all values."""
        std, mean = torch.std_mean(signal.detach().to(torch.promote_types(signal.dtype, torch.float32)), correction=0)
        return cls(float(mean), float(std))


class _Run(NamedTuple):
    """One run of a module: its calls, what it was fed with if that is one tensor and nothing else, and its result."""

    start: int
    end: int
    source: int | None
    result: int | None


@dataclass(frozen=True)
class Seen:
    """One run of a model: its graph, the runs of its modules, and the scale of every signal.

    Attributes:
        graph: Its calls.
        modules: Its modules by name.
        runs: Module → its runs.
        scales: Index of a call → scale of its result, for linear layers and activations.
    """

    graph: Graph
    modules: dict[str, nn.Module]
    runs: dict[nn.Module, list[_Run]]
    scales: dict[int, Scale]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one norm goes, or why none does: on the signal that `signal` makes, at `slot`."""

    linear: Call
    signal: Call
    slot: Slot | None = None
    reason: str = ""


def look(model: nn.Module, batch: Batch) -> Seen:
    """Run the model once and see; nothing of it changes."""
    seen = _Scales()
    with preserved(model), torch.no_grad():
        torch.manual_seed(_SEED)
        with recording(model, listeners=[seen]) as recorder, _runs_of(model, recorder) as runs:
            recorder.run(batch)
    return Seen(recorder.graph, {name: module for module, name in module_names(model).items()}, runs, seen.found)


class _Scales(Listener):
    """The scale of every result of a linear layer or an activation."""

    def __init__(self) -> None:
        self.found: dict[int, Scale] = {}

    def after(self, site: Site, output: Any) -> Any:
        """Look, and hand on."""
        if site.call.kind in ("linear", "activation") and isinstance(output, torch.Tensor):
            self.found[site.call.index] = Scale.of(output)
        return output


@contextmanager
def _runs_of(model: nn.Module, recorder: Recorder) -> Iterator[dict[nn.Module, list[_Run]]]:
    """While open, the runs of every module are noted."""
    runs: dict[nn.Module, list[_Run]] = {}
    started: list[tuple[int, int | None]] = []

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        alone = len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor)
        started.append((len(recorder.calls), recorder.index_of(args[0]) if alone else None))

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        start, source = started.pop()
        result = recorder.index_of(output) if isinstance(output, torch.Tensor) else None
        runs.setdefault(module, []).append(_Run(start, len(recorder.calls), source, result))

    handles = []
    for module in model.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            handles += [
                module.register_forward_pre_hook(enter, with_kwargs=True),
                module.register_forward_hook(leave, with_kwargs=True),
            ]
    try:
        yield runs
    finally:
        for handle in handles:
            handle.remove()


def places_in(
    model: nn.Module, seen: Seen, *, layers: Collection[str] | None, position: str, batch: Batch
) -> Iterator[Place]:
    """One place for each chosen layer.

    Raises:
        ConfigError: A pattern that fits no layer.
    """
    linears = [call for call in seen.graph.of_kind("linear") if call.call == 0]
    for pattern in layers or ():
        if not any(fnmatchcase(call.layer, pattern) for call in linears):
            known = ", ".join(call.layer for call in linears)
            raise ConfigError(f"insert_: no linear layer or convolution is called {pattern!r}; there are {known}.")
    finder = _Finder(model, seen, batch=batch)
    for linear in linears:
        if layers is not None and not any(fnmatchcase(linear.layer, pattern) for pattern in layers):
            continue
        activation, norm = _nonlinearity(seen.graph, linear)
        if activation is not None and not (layers is None and activation.op in _ARITHMETIC):
            if norm is not None and position == "before":
                yield Place(linear=linear, signal=linear, reason=f"{norm.name!r} normalizes it already")
            else:
                yield finder.place(linear, linear if position == "before" else activation)
        elif layers is not None:
            yield Place(linear=linear, signal=linear, reason="no nonlinearity alone reads its output")


def _nonlinearity(graph: Graph, linear: Call) -> tuple[Call | None, Call | None]:
    """The pointwise activation that alone reads what a layer makes, behind pools, dropout and reshapes; and the norm
    between the two, if there is one."""
    norm = None
    ends = [path.end for path in graph.sinks(linear)]
    while len(ends) == 1 and ends[0] is not None and ends[0].kind == "norm":
        norm = ends[0]
        ends = [path.end for path in graph.sinks(norm)]
    end = ends[0] if len(ends) == 1 else None
    is_pointwise = end is not None and end.kind == "activation" and end.function is not None
    return end if is_pointwise else None, norm


@dataclass(frozen=True)
class _Finder:
    """Finds a slot for a signal: behind the module that makes it, before the one that reads it, or in a forward."""

    model: nn.Module
    seen: Seen
    batch: Batch = field(repr=False)

    def place(self, linear: Call, signal: Call) -> Place:
        graph = self.seen.graph
        if not _has_samples(linear):
            reason = f"its output {linear.shape} has no axis of samples, which a norm needs; feed it with batches"
            return Place(linear=linear, signal=signal, reason=reason)
        repeats = [call for call in graph.calls if call.layer == linear.layer and call.op == linear.op]
        if len(repeats) > 1 and self._is_one_layer(repeats):
            reason = "the layer runs more than once, and what one run needs of a norm another may not"
            return Place(linear=linear, signal=signal, reason=reason)
        if signal is not linear and _moves_channels(linear, signal):
            reason = f"its channels are on another axis at {signal.name!r}, or mixed"
            return Place(linear=linear, signal=signal, reason=reason)
        slot = self._behind(signal) or self._before(signal) or self._inside(signal)
        where = signal.layer or type(self.model).__name__
        reason = "" if slot else f"the forward of {where!r}, which makes the signal, runs more than once"
        return Place(linear=linear, signal=signal, slot=slot, reason=reason)

    def _is_one_layer(self, calls: list[Call]) -> bool:
        return len({call.parameters.get("weight") for call in calls}) < len(calls)

    def _behind(self, signal: Call) -> Slot | None:
        """The innermost module that does nothing but hand the signal out, once."""
        for module in self._from_inside(signal.layer):
            runs = self.seen.runs.get(module, [])
            if len(runs) == 1 and runs[0].result == signal.index:
                return Slot(module=module, side="behind")
        return None

    def _before(self, signal: Call) -> Slot | None:
        """A module that alone reads the signal, as its only argument, once."""
        readers = self.seen.graph.consumers(signal)
        if not readers or signal.index in self.seen.graph.outputs:
            return None
        for module, runs in self.seen.runs.items():
            run = runs[0]
            inside = all(run.start <= reader.index < run.end for reader in readers)
            if module is not self.model and len(runs) == 1 and run.source == signal.index and inside:
                return Slot(module=module, side="before")
        return None

    def _inside(self, signal: Call) -> Slot | None:
        """The forward of the module that calls a function for it, if that runs once."""
        owner = self.seen.modules.get(signal.layer)
        if owner is None or len(self.seen.runs.get(owner, [])) != 1:
            return None
        found = _calls_before(self.model, signal, owner=owner, batch=self.batch)
        if len(found) != 1:
            return None
        return Slot(module=owner, side="inside", op=signal.op, function=found[0][0], number=found[0][1])

    def _from_inside(self, layer: str) -> Iterator[nn.Module]:
        """The module of this name, and those around it, but for the model."""
        while layer:
            if layer in self.seen.modules:
                yield self.seen.modules[layer]
            layer = layer.rpartition(".")[0]


def _has_samples(linear: Call) -> bool:
    """Whether the result is more than one sample's: of a convolution over n axes it has n + 2."""
    return len(linear.shape) >= (int(linear.op[-2]) + 2 if linear.op.startswith("conv") else 2)


def _moves_channels(linear: Call, signal: Call) -> bool:
    """Whether the axis of channels is not where the layer has it; two dimensions have one axis only."""
    if len(signal.shape) == 2:
        return False
    axis = 1 if linear.op.startswith("conv") else -1
    return len(signal.shape) != len(linear.shape) or signal.shape[axis] != linear.shape[axis]


def _calls_before(model: nn.Module, signal: Call, *, owner: nn.Module, batch: Batch) -> list[tuple[Any, int]]:
    """The function that makes the signal, and how often the owner's forward has called it before."""
    with preserved(model), torch.no_grad():
        torch.manual_seed(_SEED)
        # Torch calls no hook after Ctrl-C: what the pre-hook has opened is closed here then.
        with recording(model) as recorder, ExitStack() as stack:
            count = _Count(recorder, signal)
            owner.register_forward_pre_hook(lambda *_: _open(stack, count))
            owner.register_forward_hook(lambda *_: stack.close(), always_call=True)
            recorder.run(batch)
    return count.found


def _open(stack: ExitStack, mode: TorchFunctionMode) -> None:
    stack.enter_context(mode)


class _Count(TorchFunctionMode):
    """Counts calls of every function until the one comes that is recorded as `signal`."""

    def __init__(self, recorder: Recorder, signal: Call) -> None:
        super().__init__()
        self.recorder, self.signal = recorder, signal
        self.counts: Counter[Any] = Counter()
        self.found: list[tuple[Any, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        start = len(self.recorder.calls)
        result = func(*args, **(kwargs or {}))
        if start <= self.signal.index < len(self.recorder.calls):
            self.found.append((func, self.counts[func]))
        self.counts[func] += 1
        return result

"""Who reads what, with every run of a norm as one step, and calls that can be run again on other tensors."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onesigma.model.batches import Batch
from onesigma.model.capture import Listener, Recorder, Site, recording
from onesigma.model.graph import Call, Graph

__all__ = ["Flow", "Use", "flow_of", "in_float64"]

# What may lie between a norm and the layer that it goes into; whether it does no harm is then probed.
_PASSABLE = frozenset({"shape", "dropout", "pool", "reduce"})

# Of their second tensor they read the shape alone.
_SHAPED_AS = frozenset({"reshape_as", "view_as", "expand_as"})

_CASTS = frozenset({"float", "half", "bfloat16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One run of a norm.

    Attributes:
        norm: Its name.
        source: Index of the call that made its input, negative for an input of the model; None if unknown.
        result: Index of the call that made its output; None if unknown.
        inner: Indices of the calls that it made.
        batch_statistics: It normalized by the batch.
    """

    norm: str
    source: int | None
    result: int | None
    inner: range
    batch_statistics: bool = False


@dataclass
class Flow:
    """The graph of one run in which norms are steps; those in `removed` are looked through.

    Attributes:
        graph: All calls.
        uses: Norm → its runs.
        again: Index of a passable call → the call as a function of its tensor.
        settings: Index of a linear call → stride, padding and the like.
        opened: Names of the norms of other classes that, in every run, normalized and then called their own children;
            what the children did is no part of their `uses`.
        removed: Names of the norms that are folded.
    """

    graph: Graph
    uses: Mapping[str, Sequence[Use]]
    again: Mapping[int, Callable[[Tensor], Any]]
    settings: Mapping[int, Mapping[str, Any]]
    opened: frozenset[str] = frozenset()
    removed: set[str] = field(default_factory=set)

    def readers(self, index: int) -> list[Call | Use | None]:
        """All that reads the result of a call; None stands for the model's output."""
        found: list[Call | Use | None] = [None] if index in self.graph.outputs else []
        for call in self.graph.consumers(index):
            use = self._use_around(call.index)
            if use is not None and use.norm in self.removed and use.result is not None:
                found.extend(self.readers(use.result))
            elif use is not None:
                found.extend([use] if use not in found else [])
            elif not self._is_idle(call) and index in _signals(call):
                found.append(call)
        return found

    def origin(self, index: int | None) -> int | None:
        """The index behind all norms that are removed."""
        while index is not None and (use := self.use_with_result(index)) is not None and use.norm in self.removed:
            index = use.source
        return index

    def shape(self, index: int | None) -> tuple[int, ...]:
        """Of the result of a call."""
        assert index is not None
        return self.graph.calls[index].shape

    def use_with_result(self, index: int) -> Use | None:
        """The run of a norm that gave this result."""
        return next((use for uses in self.uses.values() for use in uses if use.result == index), None)

    def is_passable(self, call: Call) -> bool:
        """It may be looked through, if a probe agrees: it has one input and moves, drops or pools values."""
        return call.kind in _PASSABLE and len(_signals(call)) == 1 and call.index in self.again

    def calls_of(self, layer: str, *, op: str) -> list[Call]:
        """Every call that a layer made of its operation."""
        return [call for call in self.graph.calls if call.layer == layer and call.op == op]

    def is_plain(self, use: Use) -> bool:
        """Its calls read nothing but its input, and nothing but its result is read."""
        inner, last = use.inner, use.result
        if use.source is None or last is None or last not in inner:
            return False
        reads = {index for position in inner for index in self.graph.calls[position].inputs}
        read_outside = {
            position
            for position in inner
            if position in self.graph.outputs or any(c.index not in inner for c in self.graph.consumers(position))
        }
        return reads <= {use.source, *inner} and read_outside <= {last}

    def _use_around(self, index: int) -> Use | None:
        return next((use for uses in self.uses.values() for use in uses if index in use.inner), None)

    def _is_idle(self, call: Call) -> bool:
        """A dropout that handed its input on: what comes after reads that input."""
        return call.kind == "dropout" and not self.graph.consumers(call) and call.index not in self.graph.outputs


def _signals(call: Call) -> tuple[int, ...]:
    """The inputs of which a call reads the values."""
    return call.inputs[:1] if call.op in _SHAPED_AS else call.inputs


class _Replays(Listener):
    """Keeps how a call can be run again, without the tensor that it was run on."""

    def __init__(self) -> None:
        self.again: dict[int, Callable[[Tensor], Any]] = {}
        self.settings: dict[int, Mapping[str, Any]] = {}
        self.batch_statistics: set[int] = set()

    def after(self, site: Site, output: Any) -> Any:
        """Look, and hand on."""
        call, arguments = site.call, site.arguments
        others = {name: value for name, value in arguments.items() if name != "input"}
        if call.kind in _PASSABLE and isinstance(arguments.get("input"), Tensor) and isinstance(output, Tensor):
            self.again[call.index] = _replay(site.function, arguments)
        elif call.kind == "linear":
            self.settings[call.index] = {k: v for k, v in others.items() if not isinstance(v, (Tensor, type(None)))}
        elif call.op == "batch_norm" and (arguments.get("training") or arguments.get("running_mean") is None):
            self.batch_statistics.add(call.index)
        return output


def _replay(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[[Tensor], Any]:
    """The call as a function of its input. Where a position has a number for a name, those before it are positions."""
    num_positional = 1 + max((int(name) for name in arguments if name.isdigit()), default=0)
    values = list(arguments.values())[1:num_positional]
    named = {name: value for name, value in list(arguments.items())[num_positional:] if name != "input"}
    return lambda x: function(x, *values, **named)


def flow_of(model: nn.Module, batch: Batch, *, norms: Mapping[str, nn.Module], to_open: Collection[str] = ()) -> Flow:
    """Run the model once and see what flows where.

    Args:
        model: In eval mode.
        batch: What to run it on.
        norms: Those to be steps of the flow, by name.
        to_open: Names of those of which the children are to be steps of their own, if the run allows it.

    Raises:
        CaptureError: The model raised.
    """
    replays, uses = _Replays(), dict[str, list[Use]]()
    with recording(model, listeners=[replays]) as recorder, _watched(norms, recorder, uses):
        recorder.run(batch)
    seen = {name: [_with_statistics(use, replays.batch_statistics) for use in found] for name, found in uses.items()}
    opened = {name: [_opened(use, recorder.graph) for use in seen.get(name, ())] for name in to_open}
    as_seen = {name: [use for use in found if use] for name, found in opened.items() if found and all(found)}
    return Flow(recorder.graph, seen | as_seen, replays.again, replays.settings, opened=frozenset(as_seen))


def _opened(use: Use, graph: Graph) -> Use | None:
    """The same run up to where the children of the norm go on; None where it did anything else."""
    inner = [graph.calls[index] for index in use.inner]
    own = [call for call in inner if call.layer == use.norm]
    if own != inner[:1] or own[0].op != "batch_norm" or own[0].inputs != (use.source,):
        return None
    return replace(use, result=own[0].index, inner=range(own[0].index, own[0].index + 1))


@contextmanager
def _watched(norms: Mapping[str, nn.Module], recorder: Recorder, uses: dict[str, list[Use]]) -> Iterator[None]:
    """While open, every run of a norm is noted in `uses`."""
    handles = []
    for name, norm in norms.items():
        if isinstance(norm, torch.jit.ScriptModule):
            continue  # takes no hooks
        started: list[tuple[int | None, int]] = []

        def enter(_: nn.Module, args: Any, kwargs: Any, started: list[tuple[int | None, int]] = started) -> None:
            given = [*args, *kwargs.values()]
            is_signal = len(given) == 1 and isinstance(given[0], Tensor) and given[0].is_floating_point()
            started.append((recorder.index_of(given[0]) if is_signal else None, len(recorder.calls)))

        def leave(
            _: nn.Module,
            args: Any,
            kwargs: Any,
            output: Any,
            name: str = name,
            started: list[tuple[int | None, int]] = started,
        ) -> None:
            source, start = started.pop()
            result = recorder.index_of(output) if isinstance(output, Tensor) else None
            inner = range(start, len(recorder.calls))
            uses.setdefault(name, []).append(Use(norm=name, source=source, result=result, inner=inner))

        handles += [
            norm.register_forward_pre_hook(enter, with_kwargs=True),
            norm.register_forward_hook(leave, with_kwargs=True),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _with_statistics(use: Use, batch_statistics: Collection[int]) -> Use:
    return replace(use, batch_statistics=any(index in batch_statistics for index in use.inner))


class _Widened(TorchFunctionMode):
    """Every cast to a floating dtype is one to float64."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _CASTS and len(args) == 1:
            return args[0].double()
        return func(*map(_widened, args), **{name: _widened(value) for name, value in (kwargs or {}).items()})


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value


@contextmanager
def in_float64() -> Iterator[None]:
    """While open, what a model makes or casts is float64, as its parameters are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widened():
            yield
    finally:
        torch.set_default_dtype(before)

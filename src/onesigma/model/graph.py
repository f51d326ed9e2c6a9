"""The graph of one run: its calls in execution order, and who feeds whom."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch

__all__ = ["Call", "Graph", "Path"]

# What a signal passes on its way from one layer to the next without being made anew.
_PASSED = frozenset({"shape", "dropout", "pool"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a torch function, as it ran. The fields are those of `Record`; here are the additional ones.

    Attributes:
        dtype: Of the output, as torch names it, without "torch.".
        origins: Role → canonical names of all parameters that the value was computed from: for a weight under
            weight normalisation {"weight": ("fc.weight.original0", "fc.weight.original1")}.
        function: For activations: f of one tensor, pointwise, with its constants bound (slope, PReLU weight,
            approximation); None where f is not pointwise, as softmax.
    """

    index: int
    op: str
    kind: str
    layer: str = ""
    module: str = ""
    call: int = 0
    inputs: tuple[int, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dtype: str = ""
    fan_in: float = 0
    fan_out: float = 0
    training: bool = True
    attributes: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    function: Callable[[torch.Tensor], torch.Tensor] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """`layer` as a person would say it, with the call where there is more than one."""
        base = self.layer or self.op
        return f"{base}#{self.call}" if self.call else base


@dataclass(frozen=True, slots=True)
class Path:
    """A way through the graph that only reshapes, drops or pools.

    Attributes:
        end: The call at its far end; None at an input or an output of the model.
        index: `end.index`; at a model input −1 for the first, −2 for the second; at an output −1.
        passed: The calls between, in the order they were met.
    """

    end: Call | None
    index: int
    passed: tuple[Call, ...] = ()


@dataclass(frozen=True)
class Graph:
    """All calls of one run.

    Attributes:
        calls: In execution order; `calls[i].index == i`.
        outputs: Indices of the calls whose results the model returned (negative: an input, returned as it came).
        inputs: Names of the model's tensor inputs; input k is −1 − k in `Call.inputs`.

    Example:
        >>> relu = Call(index=1, op="relu", kind="activation", inputs=(0,))
        >>> graph = Graph((Call(index=0, op="linear", kind="linear", inputs=(-1,)), relu), outputs=(1,))
        >>> graph.sink(graph.calls[0]).end.op, graph.source(relu).end.op
        ('relu', 'linear')
    """

    calls: tuple[Call, ...] = ()
    outputs: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()

    @cached_property
    def _consumers(self) -> Mapping[int, tuple[Call, ...]]:
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            for index in dict.fromkeys(call.inputs):
                found.setdefault(index, []).append(call)
        return {index: tuple(calls) for index, calls in found.items()}

    def of_kind(self, *kinds: str) -> Iterator[Call]:
        """The calls of these kinds or ops, in order."""
        return (call for call in self.calls if call.kind in kinds or call.op in kinds)

    def producers(self, call: Call) -> tuple[Call, ...]:
        """The calls that `call` read from, one per tensor argument; inputs of the model are left out."""
        return tuple(self.calls[index] for index in call.inputs if index >= 0)

    def consumers(self, call: Call | int) -> tuple[Call, ...]:
        """The calls that read the result of `call`, or, for a negative number, that input of the model."""
        return self._consumers.get(call if isinstance(call, int) else call.index, ())

    def source(self, call: Call, argument: int = 0) -> Path:
        """What feeds tensor argument number `argument`, behind reshapes, slices, pads, dropout and pools.

        Raises:
            IndexError: The call has no such tensor argument.
        """
        index, passed = call.inputs[argument], list[Call]()
        while index >= 0 and self.calls[index].kind in _PASSED and self.calls[index].inputs:
            passed.append(self.calls[index])
            index = self.calls[index].inputs[0]
        return Path(self.calls[index] if index >= 0 else None, index, tuple(passed))

    def sinks(self, call: Call) -> tuple[Path, ...]:
        """All that the result of `call` goes into, behind reshapes, slices, pads, dropout and pools."""
        return tuple(self._sinks(call, passed=()))

    def sink(self, call: Call) -> Path:
        """The first of `sinks` in execution order; a path without an end where the result only leaves the model."""
        return next(iter(self.sinks(call)), Path(None, -1))

    def _sinks(self, call: Call, *, passed: tuple[Call, ...]) -> Iterator[Path]:
        for consumer in self.consumers(call):
            if consumer.kind in _PASSED and consumer.inputs[0] == call.index:
                yield from self._sinks(consumer, passed=(*passed, consumer))
            else:
                yield Path(consumer, consumer.index, passed)
        if call.index in self.outputs:
            yield Path(None, -1, passed)

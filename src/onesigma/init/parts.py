"""What each weight is for, read off the graph and not off its name: embedding, query, gate, residual writer, head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from onesigma.model.graph import Call, Graph

__all__ = ["ROLES", "Parts"]

ROLES = (
    "embedding", "query", "key", "value", "qkv", "gate", "up", "expand", "residual_writer", "head",
)  # fmt: skip
"""Roles that `where=` and `skip=` understand; one weight may have several."""

_CARRIED = frozenset({"shape", "dropout", "scale", "pool", "norm", "product", "concat", "reduce"})
_ROTATED = _CARRIED | {"join"}
_FED = frozenset({"shape", "dropout", "scale", "pool", "norm"})
_MAKERS = ("linear", "embedding")


@dataclass(frozen=True)
class Parts:
    """The roles of all weights of one graph.

    Example:
        >>> up = Call(index=0, op="linear", kind="linear", inputs=(-1,), parameters={"weight": "up.weight"})
        >>> down = Call(index=1, op="linear", kind="linear", inputs=(0,), parameters={"weight": "down.weight"})
        >>> add = Call(index=2, op="add", kind="join", inputs=(-1, 1))
        >>> sorted(Parts(Graph((up, down, add), outputs=(2,))).of("down.weight"))
        ['residual_writer']
    """

    graph: Graph

    def of(self, weight: str) -> frozenset[str]:
        """The roles of the weight of this canonical name."""
        return self.roles.get(weight, frozenset())

    @cached_property
    def roles(self) -> Mapping[str, frozenset[str]]:
        """Canonical name of a weight → its roles, over all calls that read it."""
        found: dict[str, frozenset[str]] = {}
        for call in self.graph.of_kind(*_MAKERS):
            name = call.parameters.get("weight", "")
            found[name] = found.get(name, frozenset()) | self._roles(call)
        return found

    @cached_property
    def residual_joins(self) -> tuple[Call, ...]:
        """Sums x + f(x) of a stream and what was computed from it, in order."""
        return tuple(call for call in self.graph.of_kind("join") if self._branch(call) is not None)

    @cached_property
    def writers(self) -> Mapping[str, int]:
        """Canonical name of every residual writer → the number of the residual join that it writes to."""
        number = {join.index: place for place, join in enumerate(self.residual_joins)}
        return {
            call.parameters["weight"]: number[join.index]
            for call in self.graph.of_kind("linear")
            if "weight" in call.parameters and (join := self._join_of(call)) is not None
        }

    @cached_property
    def streams(self) -> tuple[tuple[Call, ...], ...]:
        """The residual joins of each stream: one of an encoder, another of a decoder."""
        grouped: list[list[Call]] = []
        for join in self.residual_joins:
            home = next((group for group in grouped if self._is_carried_on(group[-1], join)), None)
            if home is None:
                grouped.append([join])
            else:
                home.append(join)
        return tuple(map(tuple, grouped))

    @cached_property
    def _ancestors(self) -> tuple[int, ...]:
        """Per call, the calls that went into it, as bits; the bits of the model's inputs stand above all calls."""
        found: list[int] = []
        for call in self.graph.calls:
            bits = 0
            for index in call.inputs:
                bits |= self._bit(index) | (found[index] if index >= 0 else 0)
            found.append(bits)
        return tuple(found)

    def _bit(self, index: int) -> int:
        return 1 << (index if index >= 0 else len(self.graph.calls) - 1 - index)

    def _roles(self, call: Call) -> frozenset[str]:
        if call.kind == "embedding":
            return frozenset({"embedding"})
        ends = [path.end for path in self.graph.sinks(call)]
        fed = [end for end, _ in self._arrivals(call, through=_FED)]
        found = set(self._attention_roles(call))
        if found:
            found.add("qkv")
        if all(end is None or end.kind == "loss" for end in ends):
            found.add("head")
        if self._join_of(call) is not None:
            found.add("residual_writer")
        for end in fed:
            if end.kind == "activation":
                gates = any(path.end is not None and path.end.kind == "product" for path in self.graph.sinks(end))
                found.add("gate" if gates else "expand")
            elif end.kind == "product" and any(producer.kind == "activation" for producer in self.graph.producers(end)):
                found.add("up")
        return frozenset(found)

    def _attention_roles(self, call: Call) -> Iterator[str]:
        for end, argument in self._arrivals(call, through=_ROTATED):
            if end.kind != "attention" or "softmax" in end.op:
                continue
            if end.op == "scaled_dot_product_attention":
                yield ("query", "key", "value")[min(argument, 2)]
            else:
                mixes = self._ancestors[end.index] & self._softmaxes & ~self._ancestors[call.index]
                yield "value" if mixes else ("query", "key")[min(argument, 1)]

    @cached_property
    def _softmaxes(self) -> int:
        return sum(1 << call.index for call in self.graph.of_kind("attention") if "softmax" in call.op)

    def _arrivals(self, call: Call, *, through: frozenset[str]) -> Iterator[tuple[Call, int]]:
        """The calls that the result reaches behind others that carry it on, and as which argument."""
        seen, waiting = {call.index}, [call]
        while waiting:
            here = waiting.pop()
            for reader in self.graph.consumers(here):
                if reader.kind not in through:
                    yield from ((reader, place) for place, index in enumerate(reader.inputs) if index == here.index)
                elif reader.index not in seen:
                    seen.add(reader.index)
                    waiting.append(reader)

    def _join_of(self, call: Call) -> Call | None:
        """The residual join that a linear writes to, behind norms, dropout, scales and the weights of a router."""
        if call.kind != "linear":
            return None
        for end, argument in self._arrivals(call, through=_CARRIED):
            if end.kind == "join" and self._branch(end) == argument:
                return end
        return None

    def _branch(self, join: Call) -> int | None:
        """Which argument of a sum is computed from the other one through a layer; None if neither is."""
        if len(join.inputs) < 2:
            return None
        for branch, stream in ((1, 0), (0, 1)):
            index, base = join.inputs[branch], join.inputs[stream]
            if index >= 0 and index != base and self._ancestors[index] & self._bit(base):
                between = self._ancestors[index] | 1 << index
                if any(
                    between >> layer.index & 1 and self._ancestors[layer.index] & self._bit(base)
                    for layer in self._layers
                ):
                    return branch
        return None

    @cached_property
    def _layers(self) -> tuple[Call, ...]:
        return tuple(self.graph.of_kind("linear", "recurrent", "attention"))

    def _is_carried_on(self, earlier: Call, later: Call) -> bool:
        """The stream of `later` is that of `earlier`, carried on by norms, shapes and scales alone."""
        branch = self._branch(later)
        index = later.inputs[1 - branch] if branch is not None else -1
        while index > earlier.index and self.graph.calls[index].kind in _ROTATED and self.graph.calls[index].inputs:
            index = self.graph.calls[index].inputs[0]
        return index == earlier.index

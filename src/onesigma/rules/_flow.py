"""Who feeds whom: the questions that rules ask of a trace's graph, answered in one pass over it."""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from onesigma.model.trace import Record, Signal, Trace

__all__ = [
    "NONLINEARITIES",
    "RECTIFIERS",
    "S_SHAPED",
    "Flow",
    "is_repeated",
    "is_s_shaped",
    "reads_a_constant",
    "sampling",
    "spread",
    "units",
    "width_slack",
]

S_SHAPED = frozenset({"tanh", "hardtanh", "sigmoid", "hardsigmoid", "softsign", "atan", "erf"})
"""Activations that are flat on both sides. A rectifier is flat on one side by design."""

RECTIFIERS = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "threshold", "softplus"),
        *("elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"),
    }
)
"""Activations that are near to affine on one side."""

NONLINEARITIES = S_SHAPED | RECTIFIERS
"""Activations that expect a signal at unit scale; not exp, clamp, softmax or periodic functions."""


def is_s_shaped(record: Record) -> bool:
    """Flat on both sides by design; ReLU6, a hardtanh that starts at 0, is a rectifier.

    Example:
        >>> is_s_shaped(Record(index=0, op="hardtanh", kind="activation", attributes={"min_val": 0.0}))
        False
    """
    return record.op in S_SHAPED and not (record.op == "hardtanh" and record.attributes.get("min_val") == 0)


_CARRIERS = ("shape", "dropout")
"""Kinds that hand a signal on at the same scale."""

_GATES = S_SHAPED | {"softmax"}
"""Bounded functions that act as gates where a product reads them."""

_LOOKUPS = frozenset({"__getitem__", "index_select", "gather", "take_along_dim", "masked_select"})
"""Operations that pick values of their first tensor at the places in a second."""

_WEIGHTED = ("linear", "recurrent", "attention", "unknown")
"""Kinds whose result is a weighted sum of what they read, or may be."""


class Flow:
    """The graph of one trace, both ways.

    Example:
        >>> trace = Trace(records=(Record(index=0, op="linear", kind="linear", inputs=(-1,)),
        ...                        Record(index=1, op="dropout", kind="dropout", inputs=(0,)),
        ...                        Record(index=2, op="relu", kind="activation", inputs=(1,))))
        >>> [reader.op for reader in Flow(trace).readers(0)]
        ['relu']
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.by_index = {record.index: record for record in trace.records}
        self._readers: dict[int, list[Record]] = {}
        for record in trace.records:
            for source in dict.fromkeys(_signals(record)):
                self._readers.setdefault(source, []).append(record)

    def readers(self, index: int, *, through: Sequence[str] = _CARRIERS) -> Iterator[Record]:
        """The records that read the result of record `index` (or model input −1, −2, …), seen through carriers."""
        seen, pending = set[int](), [index]
        while pending:
            for record in self._readers.get(pending.pop(), ()):
                if record.index in seen:
                    continue
                seen.add(record.index)
                if record.kind in through:
                    pending.append(record.index)
                else:
                    yield record

    def sources(self, record: Record, *, through: Sequence[str] = _CARRIERS) -> Iterator[int]:
        """The indices that the tensors of `record` came from, seen through carriers; negative for model inputs."""
        seen, pending = set[int](), list(_signals(record))
        while pending:
            index = pending.pop(0)
            if index in seen:
                continue
            seen.add(index)
            source = self.by_index.get(index)
            if source is not None and source.kind in through:
                pending.extend(_signals(source))
            else:
                yield index

    def preactivations(self) -> Iterator[tuple[Record, Record]]:
        """Each hidden linear beside the nonlinearity it feeds directly.

        Not heads, not writers of a residual stream, not layers before a norm: nothing asks them to be at unit scale.
        """
        heads = {head.index for head in self.heads()}
        for linear in self.trace.of_kind("linear"):
            readers = self.readers(linear.index, through=(*_CARRIERS, "pool"))
            activation = next((reader for reader in readers if reader.op in NONLINEARITIES), None)
            if activation is not None and linear.output is not None and linear.parameters and linear.index not in heads:
                yield linear, activation

    def is_gate(self, activation: Record) -> bool:
        """A bounded function that a product reads: it may well be shut or open."""
        return activation.op in _GATES and any(map(self._multiplies, self.readers(activation.index)))

    def leads_to_gate(self, activation: Record) -> bool:
        """It is a gate, or all that reads it are linears that feed gates, as in squeeze and excitation."""
        if self.is_gate(activation):
            return True
        readers = list(self.readers(activation.index))
        return bool(readers) and all(reader.kind == "linear" and self._feeds_gates(reader) for reader in readers)

    def _feeds_gates(self, linear: Record) -> bool:
        readers = list(self.readers(linear.index))
        return bool(readers) and all(map(self.is_gate, readers))

    def _multiplies(self, reader: Record) -> bool:
        """A product; also one with a constant that is then added, as a gate of a first state of zeros."""
        if reader.kind == "scale" and reader.op == "mul":
            return any(further.kind == "join" for further in self.readers(reader.index))
        return reader.kind in ("product", "attention")

    def feeds_weights(self, index: int) -> list[Record]:
        """The first records on the way from `index` that weigh what they read; empty where a norm comes first."""
        readers = self.readers(index, through=(*_CARRIERS, "concat", "pool"))
        return [reader for reader in readers if reader.kind in _WEIGHTED and not self._is_weighed_with(index, reader)]

    def _is_weighed_with(self, index: int, reader: Record) -> bool:
        """Attention, and a product of signals: what another signal is weighed by, as an adjacency matrix or a mask."""
        return reader.kind == "attention" and any(source != index for source in self.sources(reader))

    def ancestors(self, index: int) -> set[int]:
        """Every record that record `index` depends on, itself included."""
        seen, pending = set[int](), [index]
        while pending:
            current = pending.pop()
            if current in seen or current not in self.by_index:
                continue
            seen.add(current)
            pending.extend(self.by_index[current].inputs)
        return seen

    @cached_property
    def returned(self) -> tuple[Record, ...]:
        """The records that the model returned; the last one where the trace does not say."""
        records = tuple(self.by_index[index] for index in self.trace.outputs if index in self.by_index)
        return records or tuple(record for record in self.trace.records[-1:] if record.kind != "loss")

    def heads(self) -> Iterator[Record]:
        """The last linear before each output, in order of execution."""
        through = (*_CARRIERS, "activation", "scale", "pool", "reduce", "loss")
        found = (self.by_index.get(i) for record in self.returned for i in self._made_by(record, through=through))
        linears = {record.index: record for record in found if record is not None and record.kind == "linear"}
        return (linears[index] for index in sorted(linears))

    def _made_by(self, record: Record, *, through: Sequence[str]) -> Iterator[int]:
        return self.sources(record, through=through) if record.kind in through else iter((record.index,))

    @cached_property
    def bottlenecks(self) -> tuple[Record, ...]:
        """The records that all of the gradient passes: no differentiable edge spans them. The trunk of the model."""
        alive = set[int]().union(*(self.ancestors(record.index) for record in self.returned))
        carrying, trunk, reach = set[int](), list[Record](), -1
        for record in self.trace.records:
            is_carrying = record.gradient is not None or (
                record.kind == "shape" and not carrying.isdisjoint(record.inputs)
            )
            if record.index not in alive or not is_carrying:
                continue
            if carrying.isdisjoint(record.inputs) and self._reads_data(record):
                trunk.clear()  # A way that begins here, from the data, leads past everything before.
            carrying.add(record.index)
            if reach <= record.index and record.gradient is not None:
                trunk.append(record)
            readers = (reader.index for reader in self._readers.get(record.index, ()) if reader.index in alive)
            reach = max(reach, *readers, -1)
        return tuple(trunk)

    def _reads_data(self, record: Record) -> bool:
        return any(index < 0 for each in self.ancestors(record.index) for index in self.by_index[each].inputs)


def _signals(record: Record) -> tuple[int, ...]:
    """What a record takes values from: not the indices of a lookup, nor which expert gets which rows."""
    is_chosen = record.op in _LOOKUPS or "grouped_mm" in record.op
    return record.inputs[:1] if is_chosen else record.inputs


def is_repeated(trace: Trace) -> bool:
    """True where all samples of an input are one and the same: then nothing can depend on them."""
    return any(data.signal is not None and data.signal.sample_std == 0 for data in trace.inputs)


def units(record: Record) -> int:
    """How many units the result has: channels of a convolution, features of anything else.

    Example:
        >>> units(Record(index=0, op="conv2d", kind="linear", shape=(8, 16, 5, 5)))
        16
    """
    if not record.shape:
        return 1
    channels_first = "conv" in record.op and len(record.shape) > 2
    return max(record.shape[1] if channels_first else record.shape[-1], 1)


def reads_a_constant(record: Record) -> bool:
    """True where its input is the same for every sample: what comes out cannot vary either.

    Example:
        >>> from onesigma.model.trace import Signal
        >>> constant = Signal(count=8, mean=1.0, std=0.0, rms=1.0, sample_std=0.0)
        >>> reads_a_constant(Record(index=0, op="linear", kind="linear", input=constant))
        True
    """
    return record.input is not None and record.input.sample_std == 0


def width_slack(record: Record) -> float:
    """The factor 1 + 3σ by which a layer's std may miss its expectation by chance alone.

    A layer's std is estimated from `units` random units and N samples, each with relative standard error 1/√(2n):
    σ² = 1/(2·units) + 1/(2·N). At a perfect init a layer of width 4 is off by ±50 %, one of width 1024 by 1 %.
    """
    samples = record.output.num_samples if record.output is not None else 0
    variance = 0.5 / units(record) + (0.5 / samples if samples else 0.0)
    return 1 + 3 * math.sqrt(variance)


def sampling(record: Record) -> str:
    """What `width_slack` rests on, in words."""
    samples = record.output.num_samples if record.output is not None else 0
    return f"{units(record)} units, {samples} samples: ±{100 * (width_slack(record) - 1):.0f} % by chance"


def spread(signal: Signal) -> float:
    """What depends on the sample, where that was measured; else the std over all values."""
    return signal.std if signal.sample_std is None else signal.sample_std

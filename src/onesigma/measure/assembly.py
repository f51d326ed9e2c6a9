"""From the numbers of one or several passes to a `Trace`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce

import numpy as np

from onesigma.measure.activity import activity_of
from onesigma.measure.inputs import Table, input_record, merged_rows
from onesigma.measure.norms import norm_facts
from onesigma.measure.parameters import ParameterSlots
from onesigma.measure.watcher import Watcher
from onesigma.model.graph import Call, Graph
from onesigma.model.signals import Ledger, Moments
from onesigma.model.trace import Activity, InputRecord, LossRecord, ParameterRecord, Record, Signal, Trace

__all__ = ["Pass", "trace_of"]

_RECORD_FIELDS = frozenset(field.name for field in fields(Record)) & frozenset(field.name for field in fields(Call))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One forward and backward pass: its graph, and where its numbers stand."""

    graph: Graph
    ledger: Ledger
    watcher: Watcher
    tables: tuple[Table, ...]
    parameters: tuple[ParameterSlots, ...]
    loss: float | None
    loss_name: str
    num_samples: int
    chance: tuple[float, str] | None

    def moments(self, slot: int | None) -> Moments | None:
        """The numbers in a slot."""
        return None if slot is None else self.ledger.moments(slot)


def trace_of(passes: Sequence[Pass], *, model: str, training: bool) -> Trace:
    """Join the passes; the graph is that of the first, and calls of the others are matched by name."""
    first = passes[0]
    inputs = tuple(_inputs(passes))
    return Trace(
        model=model,
        records=tuple(_records(passes)),
        parameters=tuple(_parameters(passes)),
        inputs=tuple(record for record in inputs if record.name != "targets"),
        targets=next((record for record in inputs if record.name == "targets"), None),
        loss=_loss(passes),
        outputs=first.graph.outputs,
        num_samples=sum(each.num_samples for each in passes),
        training=training,
    )


def _records(passes: Sequence[Pass]) -> Iterator[Record]:
    places = [{(call.layer, call.op, call.call): call.index for call in each.graph.calls} for each in passes]
    for call in passes[0].graph.calls:
        key = (call.layer, call.op, call.call)
        seen = [(each, where[key]) for each, where in zip(passes, places, strict=True) if key in where]
        facts = {name: getattr(call, name) for name in _RECORD_FIELDS - {"attributes"}}
        yield Record(
            **facts,
            attributes={**call.attributes, **_norm_facts(passes[0], call.index), **_loss_facts(passes[0], call.index)},
            input=_joined([each.moments(each.watcher.inputs.get(index)) for each, index in seen]),
            output=_joined([each.moments(each.watcher.outputs.get(index)) for each, index in seen]),
            gradient=_joined([each.moments(each.watcher.gradients.get(index)) for each, index in seen]),
            activity=_activity(seen),
        )


def _norm_facts(first: Pass, index: int) -> Mapping[str, float | int | bool]:
    """Of the first batch: later ones meet running statistics that the first has moved."""
    if index not in first.watcher.norms:
        return {}
    slot, known = first.watcher.norms[index]
    return norm_facts(known, None if slot is None else first.ledger.row(slot))


def _loss_facts(first: Pass, index: int) -> Mapping[str, float]:
    """Between what its targets lie, where not every number is one."""
    slot = first.watcher.ranges.get(index)
    if slot is None:
        return {}
    low, high = map(float, first.ledger.row(slot))
    return {"target_min": low, "target_max": high}


def _joined(parts: Sequence[Moments | None]) -> Signal | None:
    found = [part for part in parts if part is not None]
    return reduce(Moments.merge, found).signal() if found else None


def _activity(seen: Sequence[tuple[Pass, int]]) -> Activity | None:
    found = [(each, *each.watcher.activities[index]) for each, index in seen if index in each.watcher.activities]
    found = [entry for entry in found if entry[2].num_units == found[0][2].num_units]
    if not found:
        return None
    total = sum(units.num_observations for _, _, units in found)
    row = np.sum([each.ledger.row(slot) for each, slot, _ in found], axis=0)
    return activity_of(row, replace(found[0][2], num_observations=total))


def _parameters(passes: Sequence[Pass]) -> Iterator[ParameterRecord]:
    reached = {name for call in passes[0].graph.calls for names in call.origins.values() for name in names}
    for slots in passes[0].parameters:
        if slots.name not in reached and slots.gradient is None:
            continue
        value = passes[0].moments(slots.value)
        if value is None:
            continue
        gradient = passes[0].moments(slots.gradient)
        duplicate, equal = (
            (0.0, 0.0) if slots.duplicates is None else map(float, passes[0].ledger.row(slots.duplicates))
        )
        yield ParameterRecord(
            name=slots.name,
            shape=slots.shape,
            value=value.signal(),
            gradient=None if gradient is None else gradient.signal(),
            trainable=slots.trainable,
            duplicate_rows=duplicate,
            equal_rows=equal,
        )


def _inputs(passes: Sequence[Pass]) -> Iterator[InputRecord]:
    first = passes[0]
    for number, table in enumerate(first.tables):
        same = [(each, each.tables[number]) for each in passes if number < len(each.tables)]
        rows = [each.ledger.row(other.columns) for each, other in same if other.columns is not None]
        counts = [each.ledger.row(other.labels) for each, other in same if other.labels is not None]
        record = input_record(
            table,
            first.graph,
            number=-1 if table.name == "targets" else number,
            rows=reduce(merged_rows, rows) if rows else None,
            counts=_sum_of(counts),
        )
        if record.kind == "labels":
            classes = max(record.num_classes, *(each.watcher.num_classes for each in passes))
            record = replace(record, num_classes=classes)
        if record.kind not in ("labels", "tokens"):
            record = replace(record, signal=_joined([each.moments(other.slot) for each, other in same]))
        yield record


def _sum_of(counts: Sequence[np.ndarray]) -> np.ndarray | None:
    if not counts:
        return None
    size = max(map(len, counts))
    total: np.ndarray = np.sum([np.pad(each, (0, size - len(each))) for each in counts], axis=0)
    return total


def _loss(passes: Sequence[Pass]) -> LossRecord | None:
    measured = [each for each in passes if each.loss is not None]
    if not measured:
        return None
    weights = [max(each.num_samples, 1) for each in measured]
    chances = [each.chance[0] for each in measured if each.chance is not None]
    chance = measured[0].chance
    return LossRecord(
        name=measured[0].loss_name,
        value=float(np.average([each.loss for each in measured if each.loss is not None], weights=weights)),
        chance=float(np.average(chances, weights=weights)) if len(chances) == len(measured) else None,
        chance_name=chance[1] if chance is not None else "",
    )

"""Weights that work in the forward pass and get no gradient: behind a detach, a rounding, a `.data`, a no_grad."""

from onesigma.model.trace import Record, Trace
from onesigma.rules._flow import Flow

__all__ = ["severed"]


def severed(trace: Trace, flow: Flow) -> Record | None:
    """The last of the first layers that trainable weights make work, and none of which gets a gradient.

    Only where some later layer gets one, and no zero weight of it holds the rest back; so a target network beside a
    body that learns, an expert that no row chose and a frozen backbone are none.

    Example:
        >>> from onesigma.model.trace import ParameterRecord, Signal
        >>> ones = Signal(count=8, mean=0.0, std=1.0, rms=1.0)
        >>> shape = {"shape": (2, 4), "value": ones}
        >>> layers = tuple(Record(index=i, op="linear", kind="linear", parameters={"weight": f"{i}"}) for i in (0, 1))
        >>> layers = (layers[0], Record(index=1, op="linear", kind="linear", inputs=(0,), parameters={"weight": "1"}))
        >>> weights = ParameterRecord(name="0", **shape), ParameterRecord(name="1", gradient=ones, **shape)
        >>> severed(trace := Trace(records=layers, parameters=weights, outputs=(1,)), Flow(trace)).index
        0
    """
    alive = set[int]().union(*(flow.ancestors(record.index) for record in flow.returned))
    weighted = [record for record in trace.records if record.index in alive and _trains(trace, record) is not None]
    learning = [record for record in weighted if _learns(trace, record)]
    if not learning or any(_is_zero(trace, record) for record in learning):
        return None
    before = [record for record in weighted if record.index < learning[0].index]
    reached = flow.ancestors(learning[0].index)
    return before[-1] if before and all(record.index in reached for record in before) else None


def _trains(trace: Trace, record: Record) -> str | None:
    """The name of its trainable weight."""
    names = (name for role, name in record.parameters.items() if role.startswith("weight"))
    found = (trace.parameter(name) for name in names)
    return next((each.name for each in found if each is not None and each.trainable and len(each.shape) > 1), None)


def _learns(trace: Trace, record: Record) -> bool:
    weight = trace.parameter(_trains(trace, record) or "")
    return weight is not None and weight.gradient is not None and weight.gradient.rms > 0


def _is_zero(trace: Trace, record: Record) -> bool:
    weight = trace.parameter(_trains(trace, record) or "")
    return weight is not None and weight.value.rms == 0

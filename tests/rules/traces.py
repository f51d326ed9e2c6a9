"""Hand-written traces: floats that say what a rule should see, with no model behind them."""

from dataclasses import replace
from typing import Any

from onesigma.model.trace import Activity, Column, InputRecord, LossRecord, ParameterRecord, Record, Signal, Trace

SAMPLES = 512


def signal(
    std: float, *, mean: float = 0.0, varies: float | None = None, samples: int = SAMPLES, **more: Any
) -> Signal:
    """A signal of this std; `varies` is its std over samples, if that is not all of it."""
    return Signal(
        count=64 * samples,
        mean=mean,
        std=std,
        rms=(std**2 + mean**2) ** 0.5,
        minimum=mean - 3 * std,
        maximum=mean + 3 * std,
        num_samples=samples,
        sample_std=std if varies is None else varies,
        **more,
    )


def linear(index: int, std: float = 1.0, *, reads: float = 1.0, source: int | None = None, **more: Any) -> Record:
    """A linear of 64 units called "0", "1", … by its index."""
    facts: dict[str, Any] = {
        "layer": str(index),
        "module": "Linear",
        "parameters": {"weight": f"{index}.weight", "bias": f"{index}.bias"},
        "shape": (SAMPLES, 64),
        "fan_in": 64,
        "fan_out": 64,
        "input": signal(reads),
        "output": signal(std),
    }
    source = index - 1 if source is None else source
    return Record(index=index, op="linear", kind="linear", inputs=(source,), **(facts | more))


def call(index: int, op: str, kind: str, *, sources: tuple[int, ...] | None = None, **more: Any) -> Record:
    """Any other call, which reads the one before it."""
    facts: dict[str, Any] = {"layer": str(index), "shape": (SAMPLES, 64), "input": signal(1.0), "output": signal(1.0)}
    return Record(index=index, op=op, kind=kind, inputs=(index - 1,) if sources is None else sources, **(facts | more))


def activation(index: int, op: str = "relu", **more: Any) -> Record:
    return call(index, op, "activation", **more)


def activity(*, units: int = 64, observations: int = SAMPLES, **shares: float) -> Activity:
    return Activity(num_units=units, num_observations=observations, **shares)


def chain(*stds: float, op: str = "relu", head: float = 1.0, **more: Any) -> Trace:
    """linear, activation, linear, activation, …, head; the stds are those of the hidden pre-activations."""
    records: list[Record] = []
    before = 1.0
    for number, std in enumerate(stds):
        records.append(linear(2 * number, std, reads=before))
        records.append(activation(2 * number + 1, op, input=signal(std), output=signal(std)))
        before = std
    end = len(records)
    records.append(linear(end, head, reads=before, source=end - 1 if records else -1))
    return trace(*records, **more)


def trace(*records: Record, **more: Any) -> Trace:
    facts: dict[str, Any] = {"outputs": (len(records) - 1,) if records else (), "num_samples": SAMPLES, "model": "Net"}
    return Trace(records=records, **(facts | more))


def with_gradients(found: Trace, gradients: dict[int, float]) -> Trace:
    """The same trace with the rms of ∂loss/∂output at these records."""
    records = (
        replace(record, gradient=signal(gradients[record.index])) if record.index in gradients else record
        for record in found.records
    )
    return replace(found, records=tuple(records))


def column(
    name: str, mean: float, std: float, *, low: float | None = None, high: float | None = None, bad: int = 0
) -> Column:
    return Column(
        name=name,
        mean=mean,
        std=std,
        minimum=mean - 3 * std if low is None else low,
        maximum=mean + 3 * std if high is None else high,
        nonfinite=bad,
    )


def features(*columns: Column, name: str = "0", kind: str = "features", rows: int = SAMPLES) -> InputRecord:
    spread = max((each.std for each in columns), default=0.0)
    low = min((each.minimum for each in columns), default=0.0)
    high = max((each.maximum for each in columns), default=0.0)
    whole = Signal(
        count=rows * len(columns), mean=0.0, std=spread, rms=spread, minimum=low, maximum=high, num_samples=rows
    )
    return InputRecord(name=name, kind=kind, shape=(rows, len(columns)), signal=whole, columns=columns)


def loss(value: float, chance: float | None = 2.302585, **more: Any) -> LossRecord:
    facts: dict[str, Any] = {"name": "cross_entropy", "chance_name": "log 10"}
    return LossRecord(value=value, chance=chance, **(facts | more))


def parameter(
    name: str, std: float = 0.1, *, gradient: float | None = None, shape: tuple[int, ...] = (64, 64), **more: Any
) -> ParameterRecord:
    return ParameterRecord(
        name=name, shape=shape, value=signal(std), gradient=None if gradient is None else signal(gradient), **more
    )

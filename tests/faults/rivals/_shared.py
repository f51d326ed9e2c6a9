"""What several rule sets ask of a trace."""

from collections.abc import Iterator, Sequence

from onesigma.model.trace import ParameterRecord, Record, Signal, Trace


def weights(trace: Trace) -> list[ParameterRecord]:
    """Weights with a gradient, in order."""
    return [each for each in trace.parameters if len(each.shape) > 1 and each.gradient is not None]


def activations(trace: Trace, *ops: str) -> Iterator[Record]:
    return (record for record in trace.of_kind("activation") if not ops or record.op in ops)


def mean_abs(signal: Signal) -> float:
    """Of a centered Gaussian of this rms: traces keep no mean of absolute values."""
    return signal.rms * 0.798


def share_beyond(signal: Signal, low: float, high: float) -> float:
    """Share of values outside [low, high], by the histogram where there is one."""
    if not signal.histogram:
        return float(signal.minimum < low or signal.maximum > high)
    first, last = signal.edges
    step = (last - first) / len(signal.histogram)
    centers = [first + (i + 0.5) * step for i in range(len(signal.histogram))]
    outside = sum(n for n, x in zip(signal.histogram, centers, strict=True) if not low <= x <= high)
    return outside / max(sum(signal.histogram), 1)


def made_by(trace: Trace, record: Record) -> Signal | None:
    """The pre-activation, with its histogram: the output of the call that an activation reads."""
    source = record.inputs[0] if record.inputs else -1
    return trace.records[source].output if source >= 0 else record.input


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else 0.0

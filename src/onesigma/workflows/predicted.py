"""What theory says of the model that was measured, beside each measured number."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import nn

from onesigma._errors import OnesigmaError
from onesigma.model.batches import Batch
from onesigma.model.prediction import PredictedRecord, predict
from onesigma.model.trace import Trace
from onesigma.report.rows import SILENT

__all__ = ["Theory", "theory_of"]


@dataclass(frozen=True, slots=True)
class Theory:
    """Name of a call → what is predicted of it; calls that share a name with another are left out.

    Attributes:
        stds: Of the call's result.
        gradients: Of the loss's gradient at the result: as it comes back from the output's gradient as measured.
    """

    stds: Mapping[str, float] = field(default_factory=dict)
    gradients: Mapping[str, float] = field(default_factory=dict)


def theory_of(model: nn.Module, batch: Batch, trace: Trace) -> Theory:
    """Predict what was measured; gradients only if there are any, and one output that they come from.

    Empty where the model cannot be predicted as a whole: a report is complete without.

    Example:
        >>> import torch
        >>> from onesigma.measure import measure
        >>> from onesigma.model.batches import first_batch
        >>> model, data = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (torch.randn(8, 4), torch.arange(8))
        >>> theory = theory_of(model, first_batch(data), measure(model, data, loss="cross_entropy"))
        >>> list(theory.stds), list(theory.gradients)
        (['0'], ['0'])
    """
    scale = _output_gradient(trace)
    try:
        records = predict(model, batch, gradients=scale is not None).records
    except OnesigmaError:
        return Theory()
    stds = _by_name((record, record.std) for record in records)
    if scale is None:
        return Theory(stds)
    return Theory(stds, _by_name((record, _rms(record.gradient_second_moment, scale)) for record in records))


def _output_gradient(trace: Trace) -> float | None:
    """The rms of the gradient where the model ends; None where it ends in several places, or none was measured."""
    ends = [record.gradient.rms for record in trace.records if record.index in trace.outputs and record.gradient]
    return ends[0] if len(ends) == 1 and math.isfinite(ends[0]) else None


def _rms(second_moment: float | None, scale: float) -> float | None:
    return None if second_moment is None else scale * math.sqrt(second_moment)


def _by_name(numbers: Iterable[tuple[PredictedRecord, float | None]]) -> dict[str, float]:
    loud = [(record, number) for record, number in numbers if record.kind not in SILENT]
    named = Counter(record.name for record, _ in loud)
    return {record.name: number for record, number in loud if number is not None and named[record.name] == 1}

"""What theory says of the model that was measured, beside each measured number."""

from collections import Counter

from torch import nn

from onesigma._errors import OnesigmaError
from onesigma.model.batches import Batch
from onesigma.model.prediction import predict
from onesigma.report.rows import SILENT

__all__ = ["predicted_stds"]


def predicted_stds(model: nn.Module, batch: Batch) -> dict[str, float]:
    """Name of a call → predicted std of its result; calls that share a name with another are left out.

    Empty where the model cannot be predicted as a whole: a report is complete without.

    Example:
        >>> import torch
        >>> from onesigma.model.batches import first_batch
        >>> list(predicted_stds(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), first_batch(torch.randn(8, 4))))
        ['0']
    """
    try:
        records = [record for record in predict(model, batch).records if record.kind not in SILENT]
    except OnesigmaError:
        return {}
    named = Counter(record.name for record in records)
    return {record.name: record.std for record in records if record.std is not None and named[record.name] == 1}

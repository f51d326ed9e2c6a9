"""onesigma keeps the signals of a PyTorch network at unit scale: it measures, judges, repairs, proves and folds."""

from importlib.metadata import version
from typing import TYPE_CHECKING

from onesigma._errors import (
    BatchError,
    CaptureError,
    ConfigError,
    EngineError,
    FanError,
    GainError,
    ModelError,
    NoEffectWarning,
    NotFittedError,
    OnesigmaError,
    OnesigmaWarning,
    OutputError,
    ReportFileError,
    ScalerFileError,
    SourceError,
)
from onesigma._lazy import import_when_asked

if TYPE_CHECKING:
    from onesigma import init, inputs, norm
    from onesigma.init.initialize import initialize_
    from onesigma.measure import measure
    from onesigma.model.edits import Edit, Edits
    from onesigma.model.fan import Fan, fan
    from onesigma.model.prediction import PredictedRecord, Prediction, predict
    from onesigma.model.trace import Trace
    from onesigma.numbers.activation_moments import ActivationMoments, activation_moments
    from onesigma.numbers.gain import gain
    from onesigma.numbers.meanfield import CriticalPoint, critical_point
    from onesigma.report.report import Report
    from onesigma.rules import Finding, Limits
    from onesigma.workflows.apply import apply
    from onesigma.workflows.check import check
    from onesigma.workflows.ranks import on_ranks
    from onesigma.workflows.repair import Repair, repair
    from onesigma.workflows.standardize import standardize

__all__ = [
    "ActivationMoments",
    "BatchError",
    "CaptureError",
    "ConfigError",
    "CriticalPoint",
    "Edit",
    "Edits",
    "EngineError",
    "Fan",
    "FanError",
    "Finding",
    "GainError",
    "Limits",
    "ModelError",
    "NoEffectWarning",
    "NotFittedError",
    "OnesigmaError",
    "OnesigmaWarning",
    "OutputError",
    "PredictedRecord",
    "Prediction",
    "Repair",
    "Report",
    "ReportFileError",
    "ScalerFileError",
    "SourceError",
    "Trace",
    "__version__",
    "activation_moments",
    "apply",
    "check",
    "critical_point",
    "fan",
    "gain",
    "init",
    "initialize_",
    "inputs",
    "measure",
    "norm",
    "on_ranks",
    "predict",
    "repair",
    "standardize",
]

__version__ = version("onesigma")

import_when_asked(
    __name__,
    {
        "ActivationMoments": "onesigma.numbers.activation_moments",
        "CriticalPoint": "onesigma.numbers.meanfield",
        "Edit": "onesigma.model.edits",
        "Edits": "onesigma.model.edits",
        "Fan": "onesigma.model.fan",
        "Finding": "onesigma.rules",
        "Limits": "onesigma.rules",
        "PredictedRecord": "onesigma.model.prediction",
        "Prediction": "onesigma.model.prediction",
        "Repair": "onesigma.workflows.repair",
        "Report": "onesigma.report.report",
        "Trace": "onesigma.model.trace",
        "activation_moments": "onesigma.numbers.activation_moments",
        "apply": "onesigma.workflows.apply",
        "check": "onesigma.workflows.check",
        "critical_point": "onesigma.numbers.meanfield",
        "fan": "onesigma.model.fan",
        "gain": "onesigma.numbers.gain",
        "initialize_": "onesigma.init.initialize",
        "measure": "onesigma.measure.passes",
        "on_ranks": "onesigma.workflows.ranks",
        "predict": "onesigma.model.prediction",
        "repair": "onesigma.workflows.repair",
        "standardize": "onesigma.workflows.standardize",
    },
    rooms=("init", "inputs", "norm"),
)

"""onesigma keeps the signals of a PyTorch network at unit scale: it measures, judges, repairs, proves and folds."""

from importlib.metadata import version

from onesigma import init, inputs, norm
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
from onesigma.workflows import check
from onesigma.workflows.apply import apply
from onesigma.workflows.ranks import on_ranks
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
    "standardize",
]

__version__ = version("onesigma")

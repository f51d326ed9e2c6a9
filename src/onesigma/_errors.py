"""Every error and warning of onesigma: each says where, what was wanted, what came and what to do."""

__all__ = [
    "BatchError",
    "CaptureError",
    "ConfigError",
    "EngineError",
    "FanError",
    "GainError",
    "ModelError",
    "NoEffectWarning",
    "NotFittedError",
    "OnesigmaError",
    "OnesigmaWarning",
    "OutputError",
    "ReportFileError",
    "ScalerFileError",
    "SourceError",
]


class OnesigmaError(Exception):
    """Base of all errors that a user can cause and can mend."""


class GainError(OnesigmaError, ValueError):
    """An activation has no gain: no second moment, or it is zero everywhere."""


class FanError(OnesigmaError, ValueError):
    """A layer or a weight whose fan_in and fan_out cannot be told."""


class BatchError(OnesigmaError, ValueError):
    """Batches that a model cannot be fed with."""


class CaptureError(OnesigmaError, RuntimeError):
    """The model raised while it was being looked at; the message names the last call that ran."""


class ModelError(OnesigmaError, ValueError):
    """A model that cannot be imported, built or changed as asked."""


class SourceError(OnesigmaError, ValueError):
    """A data source that cannot be read as asked: file, column, type or row."""


class EngineError(OnesigmaError, RuntimeError):
    """A pass that Dask, Ray, Spark or other processes could not finish; nothing of it was counted."""


class ScalerFileError(OnesigmaError, ValueError):
    """A file of input statistics that is truncated, edited, newer or not one at all."""


class ReportFileError(OnesigmaError, ValueError):
    """A report file that is truncated, edited, newer or not one at all."""


class OutputError(OnesigmaError, OSError):
    """A file that cannot be written; nothing is left of it."""


class NotFittedError(OnesigmaError, RuntimeError):
    """Input statistics are asked for before anything was measured."""


class ConfigError(OnesigmaError, ValueError):
    """A setting, limit or rule code that does not exist or does not fit."""


class OnesigmaWarning(UserWarning):
    """Base of all warnings of onesigma."""


class NoEffectWarning(OnesigmaWarning):
    """An action that was asked for changed no layer."""

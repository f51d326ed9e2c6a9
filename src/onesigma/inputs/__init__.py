"""Input statistics: exact, order-free, and the same in training, in a file, in the model and in serving."""

from typing import TYPE_CHECKING

from onesigma._lazy import import_when_asked

if TYPE_CHECKING:
    from onesigma.inputs.layer import Standardize
    from onesigma.inputs.loading import load
    from onesigma.inputs.maxabs import MaxAbsScaler
    from onesigma.inputs.minmax import MinMaxScaler
    from onesigma.inputs.robust import RobustScaler
    from onesigma.inputs.standard import StandardScaler
    from onesigma.inputs.standardize import standardize

__all__ = ["MaxAbsScaler", "MinMaxScaler", "RobustScaler", "StandardScaler", "Standardize", "load", "standardize"]

import_when_asked(
    __name__,
    {
        "MaxAbsScaler": "onesigma.inputs.maxabs",
        "MinMaxScaler": "onesigma.inputs.minmax",
        "RobustScaler": "onesigma.inputs.robust",
        "StandardScaler": "onesigma.inputs.standard",
        "Standardize": "onesigma.inputs.layer",
        "load": "onesigma.inputs.loading",
        "standardize": "onesigma.inputs.standardize",
    },
)

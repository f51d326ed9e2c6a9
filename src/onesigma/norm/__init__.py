"""Batch normalization: inserted where it helps, biases stripped where it cancels them."""

from onesigma.norm.calibrate import calibrate_
from onesigma.norm.controls import nonfinite_vetoed, once_per_step, paused
from onesigma.norm.coupling import Coupling, LayerCoupling, coupling
from onesigma.norm.fold import fold_, plan_folds
from onesigma.norm.frozen import freeze_, unfreeze_
from onesigma.norm.gap import Gap, LayerGap, gap
from onesigma.norm.insert import insert_
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.masked import MaskedBatchNorm1d
from onesigma.norm.strip import strip_biases_
from onesigma.norm.sync import SyncBatchNorm, synchronize_

__all__ = [
    "BatchNormLast",
    "Coupling",
    "Gap",
    "LayerCoupling",
    "LayerGap",
    "MaskedBatchNorm1d",
    "SyncBatchNorm",
    "calibrate_",
    "coupling",
    "fold_",
    "freeze_",
    "gap",
    "insert_",
    "nonfinite_vetoed",
    "once_per_step",
    "paused",
    "plan_folds",
    "strip_biases_",
    "synchronize_",
    "unfreeze_",
]

"""Room: norm. Batch normalization: inserted, stripped, calibrated, explained, folded, each with its proof."""

from onesigma.norm.accumulation import accumulated
from onesigma.norm.calibrate import calibrate_
from onesigma.norm.controls import nonfinite_vetoed, once_per_step, paused, revertible
from onesigma.norm.coupling import Coupling, LayerCoupling, coupling, coupling_by_size
from onesigma.norm.fold import fold_, load_folded_, plan_folds, save_folded
from onesigma.norm.frozen import freeze_, unfreeze_
from onesigma.norm.gap import Gap, LayerGap, gap
from onesigma.norm.ghost import GhostBatchNorm, ghost_
from onesigma.norm.insert import insert_
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.masked import MaskedBatchNorm1d, mask_
from onesigma.norm.precision import Float32Statistics, keep_float32_
from onesigma.norm.renorm import BatchRenorm, RenormLimits, renorm_
from onesigma.norm.strip import strip_biases_
from onesigma.norm.sync import SyncBatchNorm, synchronize_
from onesigma.norm.variants import plain_

__all__ = [
    "BatchNormLast",
    "BatchRenorm",
    "Coupling",
    "Float32Statistics",
    "Gap",
    "GhostBatchNorm",
    "LayerCoupling",
    "LayerGap",
    "MaskedBatchNorm1d",
    "RenormLimits",
    "SyncBatchNorm",
    "accumulated",
    "calibrate_",
    "coupling",
    "coupling_by_size",
    "fold_",
    "freeze_",
    "gap",
    "ghost_",
    "insert_",
    "keep_float32_",
    "load_folded_",
    "mask_",
    "nonfinite_vetoed",
    "once_per_step",
    "paused",
    "plain_",
    "plan_folds",
    "renorm_",
    "revertible",
    "save_folded",
    "strip_biases_",
    "synchronize_",
    "unfreeze_",
]

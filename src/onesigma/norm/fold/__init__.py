"""Folding: what a norm does in eval mode, taken into the weights around it."""

from onesigma.norm.fold.fold import fold_, plan_folds
from onesigma.norm.fold.plan import Plan
from onesigma.norm.fold.rewrite import PadPerChannel
from onesigma.norm.fold.saving import load_folded_, save_folded

__all__ = ["PadPerChannel", "Plan", "fold_", "load_folded_", "plan_folds", "save_folded"]

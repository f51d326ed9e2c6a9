"""Batch normalization: inserted where it helps, biases stripped where it cancels them."""

from onesigma.norm.insert import insert_
from onesigma.norm.layers import BatchNormLast
from onesigma.norm.strip import strip_biases_

__all__ = ["BatchNormLast", "insert_", "strip_biases_"]

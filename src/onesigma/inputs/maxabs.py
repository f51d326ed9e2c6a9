"""Scaling by the largest absolute value: zero stays zero."""

from typing import Any, ClassVar

import numpy as np

from onesigma.inputs.affine import Affine, Array
from onesigma.inputs.scalers import ColumnScaler

__all__ = ["MaxAbsScaler"]


class MaxAbsScaler(ColumnScaler):
    """x / max|x| per column: scikit-learn's `MaxAbsScaler`, made to merge. Sparse matrices stay sparse.

    Args:
        copy: False lets `transform` write into its input.
        clip: Cut off what lies outside of −1 … 1.

    Attributes:
        max_abs_: (F,) largest absolute values.
        scale_: (F,) the same, 1 where nothing but zero was seen.
        n_samples_seen_: Number of rows.

    Example:
        >>> MaxAbsScaler().fit_transform([[-4.0], [1.0]]).ravel()
        array([-1.  ,  0.25])
    """

    kind: ClassVar[str] = "maxabs"

    def __init__(self, *, copy: bool = True, clip: bool = False) -> None:
        self.copy = copy
        self.clip = clip

    @property
    def max_abs_(self) -> Array:
        """See the class."""
        arrays = self._read()
        return np.maximum(np.abs(arrays.minimum), np.abs(arrays.maximum))

    @property
    def scale_(self) -> Array:
        """See the class."""
        return np.where(self.max_abs_ == 0, 1.0, self.max_abs_)

    @property
    def n_samples_seen_(self) -> int:
        """See the class."""
        return self._read().num_rows

    @property
    def affine(self) -> Affine:
        """The map that follows from the statistics."""
        arrays = self._read()
        zeros = np.zeros(len(self.columns_))
        return Affine(
            shift=zeros,
            shift_low=zeros,
            scale=self.scale_,
            minimum=arrays.minimum,
            maximum=arrays.maximum,
            clip=(-1.0, 1.0) if self.clip else None,
        )

    def _map_parameters(self) -> dict[str, Any]:
        return {"clip": bool(self.clip)}

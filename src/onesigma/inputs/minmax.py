"""Squashing to a range: the smallest value to one end, the largest to the other, exactly."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from onesigma._errors import ConfigError
from onesigma.inputs.affine import Affine, Array
from onesigma.inputs.scalers import ColumnScaler

__all__ = ["MinMaxScaler"]


class MinMaxScaler(ColumnScaler):
    """a + (b − a)·(x − min)/(max − min) per column: scikit-learn's `MinMaxScaler` with exact ends.

    Computed as t = (x − min)/(max − min), then a·(1 − t) + b·t, so that min and max of the data map to exactly a and b,
    in every float dtype. (x·scale + offset, the usual form, misses them by some ulp.) A constant column maps to a.

    Args:
        feature_range: The range (a, b), a < b.
        copy: False lets `transform` write into its input.
        clip: Cut off what lies outside of the range.

    Attributes:
        data_min_: (F,) minima.
        data_max_: (F,) maxima.
        data_range_: (F,) maxima − minima.
        scale_: (F,) slope of the map, (b − a)/(max − min).
        min_: (F,) what 0 maps to.
        n_samples_seen_: Number of rows.

    Example:
        >>> MinMaxScaler().fit_transform([[10.0], [12.0], [20.0]]).ravel()
        array([0. , 0.2, 1. ])
    """

    kind: ClassVar[str] = "minmax"

    def __init__(self, feature_range: Sequence[float] = (0, 1), *, copy: bool = True, clip: bool = False) -> None:
        self.feature_range = feature_range
        self.copy = copy
        self.clip = clip

    @property
    def data_min_(self) -> Array:
        """See the class."""
        return self._read().minimum

    @property
    def data_max_(self) -> Array:
        """See the class."""
        return self._read().maximum

    @property
    def data_range_(self) -> Array:
        """See the class."""
        return self._read().range

    @property
    def scale_(self) -> Array:
        """See the class."""
        low, high = self._limits()
        return (high - low) / self._width()

    @property
    def min_(self) -> Array:
        """See the class."""
        return self._limits()[0] - self.data_min_ * self.scale_

    @property
    def n_samples_seen_(self) -> int:
        """See the class."""
        return self._read().num_rows

    def _width(self) -> Array:
        return np.where(self.data_range_ == 0, 1.0, self.data_range_)

    def _limits(self) -> tuple[float, float]:
        low, high = (float(limit) for limit in self.feature_range)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                "MinMaxScaler: Minimum of desired feature range must be smaller than maximum, "
                f"got {self.feature_range}."
            )
        return low, high

    def _check_parameters(self) -> None:
        self._limits()

    @property
    def affine(self) -> Affine:
        """The map that follows from the statistics."""
        arrays = self._read()
        limits = self._limits()
        return Affine(
            shift=arrays.minimum,
            shift_low=arrays.minimum_low,
            scale=self._width(),
            minimum=arrays.minimum,
            maximum=arrays.maximum,
            output_range=limits,
            clip=limits if self.clip else None,
        )

    def _map_parameters(self) -> dict[str, Any]:
        return {"feature_range": self._limits(), "clip": bool(self.clip)}

    @property
    def _takes_sparse(self) -> bool:
        return False

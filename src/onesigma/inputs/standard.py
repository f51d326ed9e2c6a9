"""Standardization: mean 0 and std 1 per column."""

from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from onesigma.inputs.affine import Affine, Array
from onesigma.inputs.scalers import ColumnScaler

__all__ = ["StandardScaler"]


class StandardScaler(ColumnScaler):
    """(x − mean) / std per column, from exact statistics: scikit-learn's `StandardScaler`, and more.

    Mean, variance (correction 0) and std are correctly rounded, whatever the order, the split or the size of the data.
    A column is constant when its exact variance is zero; then it is centered and not scaled. There is no epsilon:
    a column with std 1e-30 is scaled to std 1 as well.

    Args:
        copy: False lets `transform` write into its input.
        with_mean: Subtract the mean; sparse matrices need False.
        with_std: Divide by the std.

    Attributes:
        mean_: (F,) means; None with neither mean nor std.
        var_: (F,) variances; None without std.
        scale_: (F,) stds, 1 for constant columns; None without std.
        n_samples_seen_: Rows without NaN, one integer if they are as many in all columns; with weights, their sum.

    Example:
        >>> scaler = StandardScaler().fit([[1.0, 14.62], [3.0, 14.62]])
        >>> scaler.transform([[3.0, 14.62]]), scaler.mean_, scaler.scale_
        (array([[1., 0.]]), array([ 2.  , 14.62]), array([1., 1.]))
        >>> (StandardScaler().fit([[1.0]]) + StandardScaler().fit([[3.0]])).mean_
        array([2.])
    """

    kind: ClassVar[str] = "standard"

    def __init__(self, *, copy: bool = True, with_mean: bool = True, with_std: bool = True) -> None:
        self.copy = copy
        self.with_mean = with_mean
        self.with_std = with_std

    @property
    def mean_(self) -> Array | None:
        """See the class."""
        arrays = self._read()
        return arrays.mean if self.with_mean or self.with_std else None

    @property
    def var_(self) -> Array | None:
        """See the class."""
        arrays = self._read()
        return arrays.var if self.with_std else None

    @property
    def scale_(self) -> Array | None:
        """See the class."""
        arrays = self._read()
        # A std below the smallest double is still one; a constant column has none.
        tiny = np.maximum(arrays.std, np.finfo(np.float64).smallest_subnormal)
        return np.where(arrays.constant, 1.0, tiny) if self.with_std else None

    @property
    def n_samples_seen_(self) -> Any:
        """See the class."""
        counts = self._read().counts
        return counts[0] if np.all(counts == counts[0]) else counts

    @property
    def affine(self) -> Affine:
        """The map that follows from the statistics."""
        arrays = self._read()
        zeros = np.zeros(len(self.columns_))
        return Affine(
            shift=arrays.mean if self.with_mean else zeros,
            shift_low=arrays.mean_low if self.with_mean else zeros,
            scale=zeros + 1 if self.scale_ is None else self.scale_,
            minimum=arrays.minimum,
            maximum=arrays.maximum,
        )

    def _map_parameters(self) -> dict[str, Any]:
        return {"with_mean": bool(self.with_mean), "with_std": bool(self.with_std)}

    def _check_sparse(self, table: Any) -> None:
        if sparse.issparse(table) and self.with_mean:
            raise ValueError(
                "Cannot center sparse matrices: that would fill their zeros; pass `with_mean=False` "
                "or convert the matrix to a dense one."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_mean
        return tags

"""Scaling by median and quantile range: outliers do not move it."""
# ruff: noqa: N803  (scikit-learn calls a table X)

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from scipy.special import ndtri

from onesigma._errors import ConfigError, ScalerFileError
from onesigma.inputs.affine import Affine, Array
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.sketches import Sketches, rank_error
from onesigma.inputs.tables import floating, refuse_infinities

__all__ = ["RobustScaler"]

_FIELDS = ("nans", "infinities", "sketch")


class RobustScaler(ColumnScaler):
    """(x − median) / (quantile range) per column: scikit-learn's `RobustScaler`, made to merge and to stream.

    The quantiles come from a KLL sketch per column. Up to `sketch_size` values they are exact. Beyond, a quantile is
    the value of a rank that is off by at most `rank_error_` with 99 % probability, 0.14 % of the rows by default.
    A sketch tosses coins: two fits of the same large data differ within that error. (The other scalers are exact.)

    Needs the package `datasketches`: `pip install onesigma[sketches]`.

    Args:
        with_centering: Subtract the median; sparse matrices need False.
        with_scaling: Divide by the quantile range.
        quantile_range: Its ends in percent.
        copy: False lets `transform` write into its input.
        unit_variance: Divide the quantile range by that of a standard normal, so that normal data get std 1.
        sketch_size: Values that a sketch holds, some 50 kB at the default of 2048.

    Attributes:
        center_: (F,) medians; None without centering.
        scale_: (F,) quantile ranges, 1 where they are zero; None without scaling.
        rank_error_: The bound on the error of a rank, as a share of the rows.

    Example:
        >>> scaler = RobustScaler().fit([[1.0], [2.0], [3.0], [4.0], [1e9]])
        >>> scaler.center_, scaler.scale_
        (array([3.]), array([2.]))

    Reference: Karnin, Lang, Liberty 2016, https://arxiv.org/abs/1603.05346
    """

    kind: ClassVar[str] = "robust"

    def __init__(
        self,
        *,
        with_centering: bool = True,
        with_scaling: bool = True,
        quantile_range: Sequence[float] = (25.0, 75.0),
        copy: bool = True,
        unit_variance: bool = False,
        sketch_size: int = 2048,
    ) -> None:
        self.with_centering = with_centering
        self.with_scaling = with_scaling
        self.quantile_range = quantile_range
        self.copy = copy
        self.unit_variance = unit_variance
        self.sketch_size = sketch_size

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        """See `ColumnScaler.fit`; there are no weights."""
        return super().fit(X)

    def partial_fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        """See `ColumnScaler.partial_fit`; the order of large data matters, within the error."""
        return super().partial_fit(X)

    @property
    def center_(self) -> Array | None:
        """See the class."""
        columns = self._fitted_columns()
        return self._quantiles(columns, 0.5) if self.with_centering else None

    @property
    def scale_(self) -> Array | None:
        """See the class."""
        columns = self._fitted_columns()
        if not self.with_scaling:
            return None
        low, high = self._ends()
        width = self._quantiles(columns, high) - self._quantiles(columns, low)
        width = np.where(width == 0, 1.0, width)
        return width / (ndtri(high) - ndtri(low)) if self.unit_variance else width

    @property
    def rank_error_(self) -> float:
        """See the class."""
        self._check_fitted()
        return rank_error(self.sketch_size)

    def _check_parameters(self) -> None:
        self._ends()

    def _state_of(self, table: Any, names: list[str], sample_weight: Any) -> Any:
        columns = Sketches.of(floating(table), names, size=self.sketch_size)
        found = {name: column.infs for name, column in columns.items() if column.infs}
        refuse_infinities(found, table.dtype, num_columns=len(columns))
        return columns

    def _adopt(self, columns: Any, *, provenance: dict[str, Any]) -> None:
        self.columns_ = columns
        self.provenance_ = provenance

    def _fitted_columns(self) -> Any:
        self._check_fitted()
        return self.columns_

    @property
    def _num_rows(self) -> int:
        return max(int(column.num_rows) for column in self._fitted_columns().values())

    def _quantiles(self, columns: Any, share: float) -> Array:
        return np.array([column.quantile(share) for column in columns.values()])

    def _ends(self) -> tuple[float, float]:
        low, high = (float(end) for end in self.quantile_range)
        if not 0 <= low <= high <= 100:
            raise ConfigError(
                f"RobustScaler: Invalid quantile range: {self.quantile_range}; wanted 0 ≤ low ≤ high ≤ 100."
            )
        return low / 100, high / 100

    @property
    def affine(self) -> Affine:
        """The map that follows from the statistics."""
        columns = self._fitted_columns()
        zeros = np.zeros(len(columns))
        bounds = [column.bounds for column in columns.values()]
        return Affine(
            shift=zeros if self.center_ is None else self.center_,
            shift_low=zeros,
            scale=zeros + 1 if self.scale_ is None else self.scale_,
            minimum=np.array([low for low, _ in bounds]),
            maximum=np.array([high for _, high in bounds]),
        )

    def _map_parameters(self) -> dict[str, Any]:
        return {
            "with_centering": bool(self.with_centering),
            "with_scaling": bool(self.with_scaling),
            "quantile_range": tuple(float(end) for end in self.quantile_range),
            "unit_variance": bool(self.unit_variance),
            "sketch_size": int(self.sketch_size),
        }

    def _write_columns(self) -> tuple[Sequence[str], dict[str, Any]]:
        return _FIELDS, self._fitted_columns().rows()

    @classmethod
    def _read_columns(cls, fields: list[Any], rows: Mapping[str, Any]) -> Any:
        if fields != list(_FIELDS):
            raise ScalerFileError(f"wanted the fields {list(_FIELDS)}, got {str(fields)[:200]}.")
        return Sketches.from_rows(rows)

    def _check_sparse(self, table: Any) -> None:
        if sparse.issparse(table) and self.with_centering:
            raise ValueError(
                "Cannot center sparse matrices: that would fill their zeros; use `with_centering=False` "
                "or convert the matrix to a dense one."
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.with_centering
        return tags

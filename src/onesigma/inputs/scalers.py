"""What all scalers have in common: statistics that merge, one file, one layer, scikit-learn's interface."""
# ruff: noqa: N803  (scikit-learn calls a table X)

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils._set_output import _get_output_config

from onesigma._errors import ConfigError, NotFittedError
from onesigma.inputs.affine import Affine
from onesigma.inputs.file import canonical, read_document, write_document
from onesigma.inputs.persistence import document_of, naming, read_parameters, read_provenance
from onesigma.inputs.provenance import Provenance, joined, plain
from onesigma.inputs.readout import Readout
from onesigma.inputs.records import FIELDS, columns_from_rows, rows_of_columns
from onesigma.inputs.tables import column_names, default_names, map_table, measure, new_table, seen_table
from onesigma.numbers.columns import Columns

if TYPE_CHECKING:
    from onesigma.inputs.layer import Standardize

__all__ = ["ColumnScaler", "UnfittedScalerError"]


class UnfittedScalerError(NotFittedError, SklearnNotFittedError):  # type: ignore[misc]
    """A scaler is asked for what only a fitted one has."""


class ColumnScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the scalers: fits, merges, saves; a subclass says what map follows from the statistics.

    The state is `columns_`, the exact moments of every column. All other attributes are read from it, so `partial_fit`
    in any order, and `merge`, lead to the same bits as one `fit`.

    Attributes:
        columns_: The exact statistics.
        provenance_: Where they come from.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, where the input had names.
    """

    kind: ClassVar[str]
    """What a file calls this scaler."""

    copy: bool
    columns_: Columns
    provenance_: dict[str, Any]
    n_features_in_: int

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Measure the columns of X (N, F), forgetting what was measured before.

        Args:
            X: Array, data frame, tensor, or CSR/CSC matrix. NaN is a missing value.
            y: Ignored.
            sample_weight: (N,) weights ≥ 0.

        Raises:
            ValueError: X is no numeric table, or holds infinities; they are counted and named.
        """
        self._adopt(self._measure(X, sample_weight, first=True), provenance={})
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Measure more rows; see `fit`. Any split of the rows, in any order, gives the same statistics."""
        first = not self.__sklearn_is_fitted__()
        batch = self._measure(X, sample_weight, first=first)
        # Of rows nobody names, the file that they join says no more than its own name.
        origin = {} if first else joined(self.provenance_, {})
        self._adopt(batch if first else self.columns_.merge(batch), provenance=origin)
        return self

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Map X (N, F) column by column, keeping its float dtype; NaN stays NaN.

        An Arrow table or record batch comes back as one, a dict of columns as a table, and so this method is a function
        for the engines' own `map_batches` and `mapInArrow`: columns are found by name, others pass through, and null
        stays null.

        Args:
            X: As in `fit`.
            copy: False to write into X where X is an array of floats; None as the constructor says.

        Raises:
            ValueError: Other columns than were fitted, or a value is infinite.
        """
        self._check_fitted()
        if self._stays_arrow(X):
            return self._map_arrow(X, self.affine.transform)
        table = seen_table(self, X, accept_sparse=self._takes_sparse)
        self._check_sparse(table)
        return map_table(self.affine, table, copy=self.copy if copy is None else copy)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Undo `transform`, but for what was clipped."""
        self._check_fitted()
        if self._stays_arrow(X):
            return self._map_arrow(X, self.affine.inverse)
        table = seen_table(self, X, accept_sparse=self._takes_sparse, named=False)
        self._check_sparse(table)
        return map_table(self.affine, table, copy=self.copy if copy is None else copy, inverse=True)

    def merge(self, other: Self) -> Self:
        """A scaler fitted on the rows of both; exact, so the order of merging leaves no trace.

        Raises:
            ConfigError: `other` is another kind of scaler, or has other parameters.
            SourceError: The columns have other names.
        """
        if type(other) is not type(self) or other._map_parameters() != self._map_parameters():
            raise ConfigError(f"merge: wanted another {self!r}, got {other!r}; fit both with the same parameters.")
        self._check_fitted()
        other._check_fitted()
        provenance = joined(self.provenance_, other.provenance_)
        columns = self.columns_.merge(other.columns_)
        return self.from_columns(columns, provenance=provenance, **self.get_params())

    def __add__(self, other: Self) -> Self:
        """See `merge`."""
        return self.merge(other)

    def select(self, names: Iterable[str]) -> Self:
        """A scaler for some of the columns, in the order of `names`.

        Raises:
            SourceError: A name is none of the columns.
        """
        self._check_fitted()
        columns = self.columns_.select(list(names))
        return self.from_columns(columns, provenance=self.provenance_, **self.get_params())

    @property
    def fingerprint(self) -> str:
        """128 bits over the statistics, their names and order, and the parameters: one for one map."""
        self._check_fitted()
        content = [self.kind, self._map_parameters(), self.columns_.fingerprint]
        return hashlib.sha256(canonical(content)).hexdigest()[:32]

    def to_module(self, *, axis: int = -1, count_out_of_range: bool = False) -> "Standardize":
        """The same map as a layer, bit for bit; see `Standardize`.

        Args:
            axis: Where the columns lie in the input: −1, or 1 for images (N, C, H, W).
            count_out_of_range: Whether the layer counts values outside of what was seen here.
        """
        from onesigma.inputs.layer import Standardize  # torch is loaded for those who ask for a layer

        self._check_fitted()
        return Standardize(
            self.affine,
            names=list(self.columns_),
            axis=axis,
            fingerprint=self.fingerprint,
            count_out_of_range=count_out_of_range,
        )

    def save(self, path: str | os.PathLike[str], *, date: str | None = None) -> None:
        """Write the statistics to a file of JSON, at once; equal states give equal bytes.

        Args:
            path: Where to; an old file is replaced only by a complete new one.
            date: Of the measurement, to be kept in the provenance.

        Raises:
            ScalerFileError: The file cannot be written.
        """
        self._check_fitted()
        facts = {"rows": self._num_rows, "columns": len(self.columns_), "correction": 0, **self.provenance_}
        dated = facts if date is None else {**facts, "date": date}
        fields, rows = self._write_columns()
        write_document(path, document_of(self.kind, self._map_parameters(), provenance=dated, fields=fields, rows=rows))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file written by `save`; `onesigma.inputs.load` finds out the class by itself.

        Raises:
            ScalerFileError: The file is damaged, newer than this library, or of another kind of scaler.
        """
        return cls.from_document(read_document(path), path=path)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, path: str | os.PathLike[str]) -> Self:
        """The scaler in a document that `read_document` has read from `path`."""
        with naming(path):
            parameters = read_parameters(cls(), document, kind=cls.kind)
            columns = cls._read_columns(document["fields"], document["columns"])
            scaler = cls.from_columns(columns, provenance=read_provenance(document), **parameters)
            scaler._check_parameters()
        return scaler

    @classmethod
    def from_columns(cls, columns: Columns, *, provenance: Provenance | None = None, **parameters: Any) -> Self:
        """A fitted scaler from statistics that were measured elsewhere.

        Args:
            columns: Exact moments by name.
            provenance: Where they come from; see `Provenance`.
            parameters: Of the constructor.
        """
        scaler = cls(**parameters)
        scaler.n_features_in_ = len(columns)
        if list(columns) != default_names(len(columns)):
            scaler.feature_names_in_ = np.array(list(columns), dtype=object)
        scaler._adopt(columns, provenance=plain(provenance or {}))
        return scaler

    def __sklearn_is_fitted__(self) -> bool:
        return "columns_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = self._takes_sparse
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "float16"]
        return tags

    @property
    def _takes_sparse(self) -> bool:
        """Whether sparse matrices are let in."""
        return True

    @property
    @abstractmethod
    def affine(self) -> Affine:
        """The map that follows from the statistics and the parameters."""

    @abstractmethod
    def _map_parameters(self) -> dict[str, Any]:
        """The parameters of the constructor that the map depends on, in the types of JSON."""

    def _write_columns(self) -> tuple[Sequence[str], dict[str, Any]]:
        """Fields and rows for a file."""
        return FIELDS, rows_of_columns(self.columns_)

    @classmethod
    def _read_columns(cls, fields: list[Any], rows: Mapping[str, Any]) -> Columns:
        """Inverse of `_write_columns`."""
        return columns_from_rows(fields, rows)

    def _check_parameters(self) -> None:
        """Refuse parameters of the constructor that make no map."""

    def _check_sparse(self, table: Any) -> None:
        """Refuse a sparse matrix where the map would fill it."""

    def _stays_arrow(self, x: Any) -> bool:
        """Whether `x` is a dict of columns, or a table of Arrow that scikit-learn's `set_output` leaves as it is."""
        if isinstance(x, Mapping):
            return True
        is_arrow = type(x).__module__.partition(".")[0] == "pyarrow" and hasattr(x, "schema")
        return is_arrow and _get_output_config("transform", self)["dense"] == "default"

    def _map_arrow(self, x: Any, map: Callable[[Any], Any]) -> Any:
        from onesigma.inputs.arrow import map_arrow  # Arrow is loaded for those who have a table of it
        from onesigma.inputs.sources.tables import mapping_table

        if isinstance(x, Mapping):
            x = mapping_table(x, name="dict")
        names = list(self.columns_)
        return map_arrow(x, map, names=names, by_place=names == default_names(len(names)))

    def _measure(self, x: Any, sample_weight: Any, *, first: bool) -> Columns:
        self._check_parameters()
        table = new_table(self, x, first=first, accept_sparse=self._takes_sparse)
        self._check_sparse(table)
        return self._state_of(table, column_names(self, table), sample_weight)

    def _state_of(self, table: Any, names: list[str], sample_weight: Any) -> Columns:
        """The statistics of a validated table."""
        return measure(table, names, sample_weight=sample_weight)

    def _adopt(self, columns: Columns, *, provenance: dict[str, Any]) -> None:
        self.columns_ = columns
        self.provenance_ = provenance
        self._arrays = Readout(columns)

    @property
    def _num_rows(self) -> int:
        return self._read().num_rows

    def _read(self) -> Readout:
        self._check_fitted()
        return self._arrays

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise UnfittedScalerError(
                f"This {name} instance is not fitted yet: it has no statistics; call fit or load a file first."
            )

"""What scikit-learn demands of the input of an estimator, and the exact moments of what passes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, validate_data

from onesigma.inputs.affine import STATISTICS, Affine
from onesigma.numbers.columns import Columns
from onesigma.numbers.moments import Moments
from onesigma.numbers.tensors import is_tensor, tensor_array

__all__ = [
    "column_names",
    "default_names",
    "floating",
    "map_table",
    "measure",
    "new_table",
    "refuse_infinities",
    "seen_table",
]


def new_table(estimator: Any, x: Any, *, first: bool, accept_sparse: bool) -> Any:
    """The table to learn from, in its own dtype: integers and halves stay what they are. Sets `n_features_in_`."""
    formats = ("csr", "csc") if accept_sparse else False
    return validate_data(
        estimator, _host_array(x), reset=first, accept_sparse=formats, dtype="numeric", ensure_all_finite=False
    )


def seen_table(estimator: Any, x: Any, *, accept_sparse: bool, named: bool = True) -> Any:
    """The table to map or to map back, float or integer, as wide as what was fitted."""
    options: dict[str, Any] = {
        "accept_sparse": ("csr", "csc") if accept_sparse else False,
        "dtype": "numeric",
        "ensure_all_finite": False,
    }
    x = _host_array(x)
    if named:
        return floating(validate_data(estimator, x, reset=False, **options))
    x = check_array(x, **options)
    if x.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {x.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    return floating(x)


def floating(x: Any) -> Any:
    """`x` itself if it holds floats of up to 64 bits or integers, otherwise a double copy."""
    if x.dtype.kind in "iu" and not sparse.issparse(x):
        return x
    return x if x.dtype.kind == "f" and x.dtype.itemsize <= 8 else x.astype(np.float64)


def map_table(affine: Affine, table: Any, *, copy: bool, inverse: bool = False) -> Any:
    """The mapped table; with `copy=False` in the table's own memory where that holds floats and may be written to."""
    if sparse.issparse(table):
        return _map_sparse(affine, table, copy=copy, inverse=inverse)
    own = not copy and table.dtype.kind == "f" and table.flags.writeable
    apply = affine.inverse if inverse else affine.transform
    return apply(table, out=table if own else None)


def _map_sparse(affine: Affine, table: Any, *, copy: bool, inverse: bool) -> Any:
    """The stored values alone, each by the scale of its column; the map leaves zero at zero."""
    table = table.copy() if copy else table
    table.sum_duplicates()
    columns = table.indices if table.format == "csr" else np.repeat(np.arange(table.shape[1]), np.diff(table.indptr))
    of_values = Affine(**{name: getattr(affine, name)[columns] for name in STATISTICS}, clip=affine.clip)
    row = table.data.reshape(1, -1)
    (of_values.inverse if inverse else of_values.transform)(row, out=row)
    return table


def default_names(count: int) -> list[str]:
    """`x0`, `x1`, …, as scikit-learn names the columns of an array."""
    return [f"x{column}" for column in range(count)]


def column_names(estimator: Any, x: Any) -> list[str]:
    """The names that the columns of a validated table have, or get.

    Raises:
        ValueError: Two columns have one name.
    """
    names = [str(name) for name in getattr(estimator, "feature_names_in_", default_names(x.shape[1]))]
    if len(set(names)) < len(names):
        raise ValueError(f"{type(estimator).__name__}: two columns have one name; rename them: {sorted(names)}.")
    return names


def measure(x: Any, names: list[str], *, sample_weight: Any = None) -> Columns:
    """The exact moments of a validated table.

    Raises:
        ValueError: A value is infinite.
    """
    weights = None
    if sample_weight is not None:
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
    if sparse.issparse(x):
        columns = _sparse_columns(x, names, weights)
    else:
        columns = Columns.of(floating(x), names, weights=weights)
    refuse_infinities(columns.infinities, x.dtype, num_columns=len(columns))
    return columns


def refuse_infinities(found: Mapping[str, int], dtype: np.dtype[Any], *, num_columns: int) -> None:
    """Name the columns that hold infinities, and how many each holds.

    Raises:
        ValueError: There are any.
    """
    if found:
        listed = ", ".join(f"{name!r} ({count})" for name, count in list(found.items())[:4])
        raise ValueError(
            f"Input X contains infinity or a value too large for {dtype!r}. Infinite values are in {len(found)} of "
            f"{num_columns} columns: {listed}{', …' if len(found) > 4 else ''}; replace them or drop their rows."
        )


def _sparse_columns(x: Any, names: list[str], weights: npt.NDArray[np.float64] | None) -> Columns:
    """Stored values as they are, and the zeros between them as one zero that many times."""
    x = sparse.csc_array(x, copy=True)
    x.sum_duplicates()
    moments = {}
    for column, name in enumerate(names):
        stored = slice(x.indptr[column], x.indptr[column + 1])
        rows = x.indices[stored]
        held = Moments.of(x.data[stored], weights=None if weights is None else weights[rows])
        moments[name] = held.merge(_zeros(x.shape[0], rows, weights))
    return Columns(moments)


def _zeros(num_rows: int, stored: npt.NDArray[Any], weights: npt.NDArray[np.float64] | None) -> Moments:
    if weights is None:
        count = num_rows - len(stored)
        return Moments.of(np.zeros(1), weights=np.array([count])) if count else Moments.zero()
    between = np.ones(num_rows, dtype=bool)
    between[stored] = False
    return Moments.of(np.zeros(int(between.sum())), weights=weights[between])


def _host_array(x: Any) -> Any:
    """A tensor as an array, from whatever device; bfloat16 fits in float32."""
    return tensor_array(x) if is_tensor(x) else x

"""Scalers: exact, order-free, and where they differ from scikit-learn's, for the better."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn import preprocessing
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from onesigma._errors import ConfigError, NotFittedError, SourceError
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from onesigma.inputs.scalers import ColumnScaler

ALL = [StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler]
EXACT = [StandardScaler, MinMaxScaler, MaxAbsScaler]
tables = arrays(np.float64, st.tuples(st.integers(2, 12), st.integers(1, 3)), elements=st.floats(-1e9, 1e9))


def normal(*shape: int, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, shape).astype(dtype)


@pytest.mark.parametrize("scaler", EXACT)
@given(x=tables, data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_split_in_any_order_gives_the_same_bits(
    scaler: type[ColumnScaler], x: np.ndarray, data: st.DataObject
) -> None:
    whole = scaler().fit(x)
    order = data.draw(st.permutations(range(len(x))))
    cut = data.draw(st.integers(1, len(x) - 1))
    first, second = x[order[:cut]], x[order[cut:]]
    merged = scaler().fit(second) + scaler().fit(first)
    streamed = scaler().partial_fit(second).partial_fit(first)
    assert whole.fingerprint == merged.fingerprint == streamed.fingerprint
    np.testing.assert_array_equal(merged.transform(x), whole.transform(x))


@given(x=tables)
@settings(deadline=None)
def test_mean_and_variance_are_rounded_once(x: np.ndarray) -> None:
    scaler = StandardScaler().fit(x)
    for column in range(x.shape[1]):
        values = [Fraction(value) for value in x[:, column]]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert scaler.mean_[column] == float(mean)
        assert scaler.var_[column] == float(variance)
        assert (scaler.scale_[column] == 1) or variance > 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(data=st.data())
@settings(deadline=None)
def test_ends_of_the_range_are_exact_and_nothing_is_outside(dtype: type, data: st.DataObject) -> None:
    bound = 2.0**100
    elements = st.floats(-bound, bound, width=np.dtype(dtype).itemsize * 8)
    x = data.draw(arrays(dtype, st.tuples(st.integers(2, 10), st.just(2)), elements=elements))
    scaler = MinMaxScaler().fit(x)
    output = scaler.transform(x)
    assert output.dtype == dtype
    assert (output.min(axis=0) == 0).all()
    np.testing.assert_array_equal(output.max(axis=0), (x.max(axis=0) > x.min(axis=0)).astype(dtype))


@pytest.mark.parametrize("limits", [(0, 1), (-1, 1), (-0.5, 0.6), (0.1, 0.3), (1e-3, 1e9)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_range_has_exact_ends(limits: tuple[float, float], dtype: type) -> None:
    x = normal(100, 5, dtype=dtype)
    output = MinMaxScaler(feature_range=limits).fit_transform(x)
    assert (output.min(axis=0) == dtype(limits[0])).all()
    assert (output.max(axis=0) == dtype(limits[1])).all()


def test_scikit_learns_own_ends_are_not_exact_where_ours_are() -> None:
    x = normal(1000, 50, dtype=np.float32)
    assert (MinMaxScaler().fit_transform(x).max(axis=0) == 1).all()
    assert (preprocessing.MinMaxScaler().fit_transform(x).max(axis=0) != 1).any()


@pytest.mark.parametrize("scaler", ALL)
def test_close_to_scikit_learn_on_ordinary_data(scaler: type[ColumnScaler]) -> None:
    x, new = normal(100, 4), normal(20, 4) * 2
    theirs = getattr(preprocessing, scaler.__name__)().fit(x)
    ours = scaler().fit(x)
    np.testing.assert_allclose(ours.transform(new), theirs.transform(new), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ours.inverse_transform(new), theirs.inverse_transform(new), rtol=1e-12, atol=1e-13)
    for name in [name for name in vars(theirs) if name.endswith("_")]:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12)


@pytest.mark.parametrize(
    ("column", "std"),
    [
        (np.full(3000, 14.62), 1.0),
        (np.full(3000, 1e300), 1.0),
        (np.tile([-1e-9, 1e-9], 1500), 1e-9),
        (np.tile([1e-200, 3e-200], 1500), 1e-200),
        (np.tile([1e200, 3e200], 1500), 1e200),
        (np.tile([1.0, 1 + 2**-52], 1500), 2**-53),
        (np.tile([5e-324, -5e-324], 1500), 5e-324),
    ],
)
def test_constant_means_constant_and_everything_else_is_scaled(column: np.ndarray, std: float) -> None:
    scaler = StandardScaler()
    for part in np.array_split(column[:, None], 3):
        scaler.partial_fit(part)
    assert scaler.scale_[0] == pytest.approx(std, rel=2**-50, abs=0)
    output = scaler.transform(column[:, None])
    assert np.isfinite(output).all()
    assert output.std() in (0, pytest.approx(1, rel=1e-3))


def test_nanosecond_timestamps_stay_apart() -> None:
    times = 1_700_000_000_000_000_000 + np.arange(1001, dtype=np.int64)[:, None]
    scaler = StandardScaler().fit(times)
    assert scaler.var_[0] == 83500
    assert len(np.unique(scaler.transform(times))) == 1001
    squashed = MinMaxScaler().fit_transform(times)
    np.testing.assert_array_equal(squashed[:, 0], np.arange(1001) / 1000)


def test_nan_is_left_out_and_passes_through() -> None:
    x = np.array([[1.0, np.nan], [3.0, 5.0], [np.nan, 7.0]])
    for scaler in ALL:
        np.testing.assert_array_equal(np.isnan(scaler().fit_transform(x)), np.isnan(x))
    assert StandardScaler().fit(x).n_samples_seen_ == 2
    assert StandardScaler().fit(x[1:]).n_samples_seen_.tolist() == [1, 2]


def test_a_column_of_nothing_but_nan_has_no_statistics() -> None:
    x = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    for scaler in ALL:
        assert np.isnan(scaler().fit(x).transform([[1.0, 1.0]])[0, 0])
    assert (StandardScaler().fit(x) + StandardScaler().fit([[5.0, 1.0]])).mean_[0] == 5


@pytest.mark.parametrize("scaler", ALL)
def test_infinities_are_counted_and_named_and_change_nothing(scaler: type[ColumnScaler]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.0, 2.0, 3.0], "pay": [np.inf, -np.inf, 1.0]})
    with pytest.raises(ValueError, match=r"contains infinity .* in 1 of 2 columns: 'pay' \(2\)"):
        scaler().fit(frame)
    fitted = scaler().fit([[1.0], [2.0]])
    before = fitted.transform([[1.5]])
    with pytest.raises(ValueError, match="contains infinity"):
        fitted.partial_fit([[np.inf]])
    np.testing.assert_array_equal(fitted.transform([[1.5]]), before)
    x = np.array([[1.0], [np.inf]])
    with pytest.raises(ValueError, match="contains infinity"):
        fitted.transform(x, copy=False)
    assert x.tolist() == [[1.0], [np.inf]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40_000, 7), (300, 1500), (5, 3), (100_000, 1)])
def test_every_path_through_memory_gives_the_same_bits(dtype: type, order: str, shape: tuple[int, int]) -> None:
    x = normal(*shape, dtype=dtype)
    scaler = StandardScaler().fit(x[:5])
    plain = np.concatenate([scaler.transform(row[None]) for row in x[:50]])
    laid = np.asarray(x, order=order)
    output = scaler.transform(laid)
    assert output.dtype == dtype
    np.testing.assert_array_equal(output[:50], plain)
    np.testing.assert_array_equal(scaler.transform(np.repeat(laid, 2, axis=1)[:, ::2]), output)
    assert scaler.transform(laid, copy=False) is laid
    np.testing.assert_array_equal(laid, output)


def test_threads_change_nothing() -> None:
    x = normal(100_000, 9, dtype=np.float32)
    scaler = MinMaxScaler(feature_range=(-1, 2), clip=True).fit(x[::2])
    threads = torch.get_num_threads()
    outputs = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            outputs.append(scaler.transform(x))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*outputs)


def test_a_read_only_array_is_copied() -> None:
    x = normal(10, 2)
    x.flags.writeable = False
    output = StandardScaler(copy=False).fit(x).transform(x)
    assert output is not x


@pytest.mark.parametrize(
    "scaler", [StandardScaler(with_mean=False), MaxAbsScaler(clip=True), RobustScaler(with_centering=False)]
)
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_array, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_and_dense_tables_are_the_same(scaler: ColumnScaler, container: type, weighted: bool) -> None:
    dense = np.where(normal(50, 4) > 3, normal(50, 4), 0)
    dense[3, 2] = np.nan
    options = {}
    if weighted and not isinstance(scaler, RobustScaler):
        options = {"sample_weight": np.random.default_rng(1).random(50)}
    narrow, wide = clone(scaler).fit(container(dense), **options), clone(scaler).fit(dense, **options)
    np.testing.assert_array_equal(narrow.scale_, wide.scale_)
    output = narrow.transform(container(dense))
    assert type(output) is type(container(dense))
    np.testing.assert_array_equal(output.toarray(), wide.transform(dense))


def test_integer_weights_are_repetitions() -> None:
    x, weights = normal(20, 3), np.arange(20)
    weighted = StandardScaler().fit(x, sample_weight=weights)
    repeated = StandardScaler().fit(np.repeat(x, weights, axis=0))
    np.testing.assert_array_equal(weighted.mean_, repeated.mean_)
    np.testing.assert_array_equal(weighted.var_, repeated.var_)
    assert weighted.n_samples_seen_ == repeated.n_samples_seen_ == 190


def test_frames_keep_names_through_select_and_set_output() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 3.0], "b": [10.0, 50.0], "c": [0.0, 1.0]})
    scaler = StandardScaler().fit(frame).set_output(transform="pandas")
    pandas.testing.assert_frame_equal(
        scaler.transform(frame)[["c", "a"]],
        scaler.select(["c", "a"]).set_output(transform="pandas").transform(frame[["c", "a"]]),
    )
    assert scaler.select(["b"]).get_feature_names_out().tolist() == ["b"]
    with pytest.raises(SourceError, match="nope"):
        scaler.select(["nope"])
    with pytest.raises(ValueError, match="feature names"):
        scaler.transform(frame[["b", "a", "c"]])


def test_tensors_are_tables_too() -> None:
    x = torch.from_numpy(normal(20, 3, dtype=np.float32))
    assert StandardScaler().fit(x).fingerprint == StandardScaler().fit(x.numpy()).fingerprint
    assert StandardScaler().fit(x.bfloat16()).transform(x.bfloat16()).dtype == np.float32
    grown = (x * 2).requires_grad_()
    assert StandardScaler().fit(grown).mean_.shape == (3,)


@pytest.mark.parametrize("scaler", ALL)
def test_pickle_and_clone_and_pipelines(scaler: type[ColumnScaler]) -> None:
    x, y = normal(60, 3), np.arange(60) % 2
    fitted = scaler().fit(x)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.fingerprint == fitted.fingerprint
    np.testing.assert_array_equal(again.transform(x), fitted.transform(x))
    assert not hasattr(clone(fitted), "columns_")
    make_pipeline(scaler(), LogisticRegression()).fit(x, y).predict(x)


@pytest.mark.parametrize("scaler", ALL)
def test_what_is_not_fitted_says_so_under_both_names(scaler: type[ColumnScaler]) -> None:
    for ask in (lambda: scaler().transform([[1.0]]), lambda: scaler().to_module(), lambda: scaler().fingerprint):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask()
        with pytest.raises(SklearnNotFittedError):
            ask()
    assert not hasattr(scaler(), "scale_")


def test_only_equals_merge() -> None:
    one = MinMaxScaler().fit([[1.0]])
    for other in (StandardScaler().fit([[1.0]]), MinMaxScaler(clip=True).fit([[1.0]])):
        with pytest.raises(ConfigError, match="merge: wanted another"):
            one.merge(other)
    with pytest.raises(NotFittedError):
        one.merge(MinMaxScaler())
    with pytest.raises(SourceError, match="columns differ"):
        one.merge(MinMaxScaler().fit([[1.0, 2.0]]))


def test_merging_changes_neither_side() -> None:
    one, other = StandardScaler().fit([[1.0]]), StandardScaler().fit([[3.0]])
    prints = one.fingerprint, other.fingerprint
    assert (one + other).mean_ == 2
    assert (one.fingerprint, other.fingerprint) == prints


def test_a_failed_fit_leaves_the_old_one() -> None:
    scaler = StandardScaler().fit([[1.0], [3.0]])
    with pytest.raises(ValueError, match="numeric"):
        scaler.fit([["a"], ["b"]])
    assert scaler.mean_ == 2


@pytest.mark.parametrize("limits", [(1, 0), (1, 1), (0, np.inf), (np.nan, 1)])
def test_an_impossible_range_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="smaller than maximum"):
        MinMaxScaler(feature_range=limits).fit([[1.0]])


def test_clip_cuts_what_is_outside() -> None:
    scaler = MinMaxScaler(clip=True).fit([[0.0], [10.0]])
    np.testing.assert_array_equal(scaler.transform([[-5.0], [5.0], [50.0], [np.nan]])[:, 0], [0, 0.5, 1, np.nan])


def test_a_sketch_is_exact_while_small_and_close_when_large() -> None:
    x = normal(200_000, 1)
    small, large = RobustScaler().fit(x[:2000]), RobustScaler().fit(x)
    assert small.center_[0] == np.median(x[:2000])
    rank = np.searchsorted(np.sort(x[:, 0]), large.center_[0]) / len(x)
    # Three times the error that holds with 99 % probability: the error is close to normal, so this is 7.7 sigma.
    assert abs(rank - 0.5) < 3 * large.rank_error_
    merged = RobustScaler().fit(x[:100_000]) + RobustScaler().fit(x[100_000:])
    assert abs(np.searchsorted(np.sort(x[:, 0]), merged.center_[0]) / len(x) - 0.5) < 3 * merged.rank_error_

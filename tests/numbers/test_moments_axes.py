import numpy as np
import pytest
import torch

from onesigma._errors import SourceError
from onesigma.numbers.axes import Axes
from onesigma.numbers.columns import Columns
from onesigma.numbers.histogram import Histogram
from onesigma.numbers.moments import Moments

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 4)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float16, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize(
    ("axes", "moved"),
    [("C", (1, 0, 2, 3)), (1, (1, 0, 2, 3)), (-1, (3, 0, 1, 2)), (("C", "W"), (1, 3, 0, 2)), ([1, 2, 3], (1, 2, 3, 0))],
)
def test_kept_axes_give_the_moments_of_each_index(axes: Axes, moved: tuple[int, ...], dtype: type) -> None:
    array = IMAGES.astype(dtype)
    for held in (array, np.asfortranarray(array), torch.from_numpy(array)):
        columns = Columns.of_axes(held, axes, dims="NCHW")
        kept = 1 if isinstance(axes, int | str) else len(axes)
        turned = np.transpose(array, moved)
        turned = turned.reshape(int(np.prod(turned.shape[:kept])), -1)
        assert [moments.total for moments in columns.values()] == [Moments.of(row).total for row in turned]
        assert [moments.squares for moments in columns.values()] == [Moments.of(row).squares for row in turned]


def test_bytes_by_histogram_have_the_moments_of_their_values() -> None:
    assert Columns.of_axes(IMAGES, "C", dims="NCHW")["1"] == Moments.of(IMAGES[:, 1].ravel())
    assert Histogram.of(IMAGES).moments() == Moments.of(IMAGES.ravel())
    assert Histogram.zero().moments().count == 0


def test_histograms_merge_and_their_quantiles_are_those_of_the_sorted_values() -> None:
    histogram = Histogram.of(IMAGES[:2]) + Histogram.of(IMAGES[2:])
    assert histogram == Histogram.of(IMAGES) == histogram + Histogram.zero()
    for share in (0.0, 0.01, 0.25, 0.5, 0.999, 1.0):
        assert histogram.quantile(share) == np.quantile(IMAGES, share, method="inverted_cdf")


def test_columns_are_named_along_the_axes() -> None:
    assert list(Columns.of_axes(IMAGES, 1)) == ["0", "1", "2"]
    assert list(Columns.of_axes(IMAGES[:, :2, :2], (1, 2)))[1:3] == ["0,1", "1,0"]
    assert list(Columns.of_axes(IMAGES, 1, names=["red", "green", "blue"])) == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("axes", "names", "said"),
    [(4, None, "none of"), ("Z", None, "none of"), ((1, -3), None, "twice"), (1, ["a"], "3 names")],
)
def test_axes_that_are_not_there_are_refused(axes: Axes, names: list[str] | None, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        Columns.of_axes(IMAGES, axes, dims="NCHW", names=names)


def test_quantiles_of_nothing_and_other_types_are_refused() -> None:
    with pytest.raises(SourceError, match="0 values"):
        Histogram.zero().quantile(0.5)
    with pytest.raises(SourceError, match="uint8"):
        Histogram.of(np.ones(3))

"""Folding is certified or refused."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from onesigma._errors import ModelError
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, StandardScaler
from onesigma.inputs.fold import fold_bound, fold_error, fold_weights
from onesigma.inputs.folding import fold_into_
from onesigma.inputs.scalers import ColumnScaler

ROUNDOFF = 2.0**-24


def columns(ratio: float, *, num_columns: int = 9, num_rows: int = 4000) -> np.ndarray:
    """Columns of std near 1, the first one with |mean|/std = ratio."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_rows, num_columns))
    x[:, 0] += ratio
    return x


def first_layer(num_columns: int, *, units: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Weights as torch draws them."""
    layer = nn.utils.skip_init(nn.Linear, num_columns, units)
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(num_columns**-0.5), num_columns**-0.5, generator=generator)
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


@pytest.mark.parametrize("ratio", [13.9, 59.7, 239.0, 2.0e3])
def test_the_error_of_a_fold_is_under_its_bound_and_grows_with_the_ratio(ratio: float) -> None:
    x = columns(ratio).astype(np.float32).astype(np.float64)
    weight, bias = first_layer(9)
    affine = StandardScaler().fit(x).affine
    bound, error = fold_bound(weight[:, :, None], affine=affine), fold_error(weight, bias, affine=affine, x=x)
    z = np.abs(affine.transform(x)).max(axis=0)
    depth = (9 + 2) * ROUNDOFF
    own = depth / (1 - depth) * (np.abs(weight) @ z + np.abs(bias)).max()
    assert error.folded <= bound.total + own
    assert error.layer <= own + 4 * ROUNDOFF * (np.abs(weight) @ z).max()  # and four roundings of z itself
    assert bound.ratios[0] == pytest.approx(ratio, rel=0.1)
    assert bound.columns.argmax() == 0
    # The bound is no more than a hundred times what happens: it is worth having.
    assert error.folded > bound.total / 100
    assert error.folded > error.double


def test_what_the_bound_says_of_unix_time_is_what_happens() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([1.642e9 + rng.uniform(0, 2.6e6, 5000), rng.normal(3, 1, 5000)], axis=1)
    weight, bias = first_layer(2)
    error = fold_error(weight, bias, affine=StandardScaler().fit(x).affine, x=x)
    # float32 alone rounds the time to a grid of 128 s, half of which is 64 s of a std of 7.5e5 s.
    assert error.folded > error.layer > error.double


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(feature_range=(-1, 3)), MaxAbsScaler()], ids=repr)
def test_a_folded_layer_takes_raw_input(scaler: ColumnScaler) -> None:
    x = columns(5.0)
    layer = nn.Linear(9, 4, dtype=torch.float64)
    rows = torch.from_numpy(x)
    expected = layer(scaler.fit(x).to_module()(rows))
    edits = fold_into_(layer, scaler, name="first")
    assert [edit.layer for edit in edits.applied] == ["first"]
    torch.testing.assert_close(layer(rows), expected)
    assert edits[0].error is not None
    assert edits[0].error < 1e-13


def test_scaler_and_layer_fold_alike_and_undo_restores_every_bit() -> None:
    scaler = StandardScaler().fit(columns(5.0))
    one, other = nn.Linear(9, 4), nn.Linear(9, 4)
    other.load_state_dict(one.state_dict())
    before = copy.deepcopy(one.state_dict())
    weight = one.weight
    edits = fold_into_(one, scaler)
    fold_into_(other, scaler.to_module())
    assert one.weight is weight
    assert all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in before)
    edits.undo()
    edits.undo()
    assert all(torch.equal(one.state_dict()[name], before[name]) for name in before)


def test_a_missing_bias_is_made_and_undone() -> None:
    layer, scaler = nn.Linear(9, 4, bias=False), StandardScaler().fit(columns(5.0))
    edits = fold_into_(layer, scaler)
    assert layer.bias is not None
    assert edits[0].reason == "a bias was added"
    edits.undo()
    assert layer.bias is None
    kept = nn.Linear(9, 4, bias=False)
    assert fold_into_(kept, MaxAbsScaler().fit(columns(5.0)))[0].applied
    assert kept.bias is None


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
def test_channels_of_a_convolution_fold_where_padding_repeats_real_values(groups: int, padding_mode: str) -> None:
    scaler = StandardScaler().fit(np.array([[1.0, 5.0, -2.0], [3.0, 9.0, 7.0], [4.0, 4.0, 1.0]]))
    layer = nn.Conv2d(3, 6, 3, padding=1, padding_mode=padding_mode, groups=groups, dtype=torch.float64)
    images = torch.randn(2, 3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = layer(scaler.to_module(axis=1)(images))
    assert fold_into_(layer, scaler)[0].applied
    torch.testing.assert_close(layer(images), expected)


def refusal(layer: nn.Module, scaler: ColumnScaler, **options: float) -> str:
    before = copy.deepcopy(layer.state_dict())
    edits = fold_into_(layer, scaler, **options)
    assert len(edits.refused) == len(edits) == 1
    assert all(torch.equal(value, layer.state_dict()[name]) for name, value in before.items())
    return edits[0].reason


@pytest.mark.parametrize("padding", [1, "same"])
def test_a_convolution_that_pads_with_zeros_is_refused_unless_zero_stays_zero(padding: int | str) -> None:
    x = columns(5.0, num_columns=3)
    assert "pads with zeros" in refusal(nn.Conv1d(3, 2, 3, padding=padding), StandardScaler().fit(x))
    assert fold_into_(nn.Conv1d(3, 2, 3, padding=padding), MaxAbsScaler().fit(x))[0].applied
    assert fold_into_(nn.Conv1d(3, 2, 3, padding="valid"), StandardScaler().fit(x))[0].applied
    assert fold_into_(nn.Conv1d(3, 2, 1, padding="same"), StandardScaler().fit(x))[0].applied


def test_float32_unix_time_is_refused_and_the_column_named() -> None:
    x = columns(0.0)
    x[:, 4] = 1.64e9 + 8e5 * x[:, 4]
    reason = refusal(nn.Linear(9, 64), StandardScaler().fit(x))
    assert "column 4" in reason
    assert "above the tolerance" in reason
    assert fold_into_(nn.Linear(9, 64), StandardScaler().fit(x), tolerance=0.1)[0].applied
    assert fold_into_(nn.Linear(9, 64, dtype=torch.float64), StandardScaler().fit(x))[0].applied


def test_what_no_weight_can_do_is_refused() -> None:
    x = columns(1.0, num_columns=3)
    standard = StandardScaler().fit(x)
    assert "clips" in refusal(nn.Linear(3, 2), MinMaxScaler(clip=True).fit(x))
    assert "ConvTranspose1d" in refusal(nn.ConvTranspose1d(3, 2, 3), standard)
    assert "computed anew" in refusal(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), standard)
    assert "no statistics" in refusal(
        nn.Linear(3, 2), StandardScaler().fit(np.where([True, False, False], math.nan, x))
    )


def test_weights_that_leave_the_dtype_are_refused() -> None:
    tiny, huge = np.array([[1e-30], [-1e-30]]), np.array([[1e30], [-1e30]])
    for x in (tiny, huge):
        assert "out of the range" in refusal(nn.Linear(1, 2, dtype=torch.float16), StandardScaler().fit(x))


def test_a_layer_of_another_width_is_an_error() -> None:
    with pytest.raises(ModelError, match="5 inputs and 3 columns"):
        fold_into_(nn.Linear(5, 2), StandardScaler().fit(columns(1.0, num_columns=3)))


def test_a_constant_column_folds_to_its_offset() -> None:
    scaler = StandardScaler().fit(np.full((5, 1), 14.0))
    weight, bias = fold_weights(np.ones((1, 1, 1)), np.zeros(1), affine=scaler.affine)
    assert (weight.item(), bias.item()) == (1.0, -14.0)

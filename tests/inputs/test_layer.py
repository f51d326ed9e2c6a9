"""The layer is the scaler, in the model."""

import copy
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma._errors import BatchError, NotFittedError
from onesigma.inputs import MaxAbsScaler, MinMaxScaler, RobustScaler, Standardize, StandardScaler
from onesigma.inputs.scalers import ColumnScaler

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-0.5, 0.6), clip=True),
    MaxAbsScaler(clip=True),
    RobustScaler(),
]


def table(rows: int = 257) -> np.ndarray:
    """Unix seconds, ordinary numbers, tiny ones, a constant, and NaN."""
    rng = np.random.default_rng(0)
    columns = [
        1.64e9 + rng.normal(0, 8e5, rows),
        rng.normal(5, 2, rows),
        rng.normal(0, 1e-9, rows),
        np.full(rows, 14.62),
    ]
    x = np.stack(columns, axis=1)
    x[3, 1] = np.nan
    return x


def fitted(scaler: ColumnScaler, x: np.ndarray) -> ColumnScaler:
    return type(scaler)(**scaler.get_params()).fit(x)


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_scaler_and_layer_and_reloaded_layer_give_the_same_bits(scaler: ColumnScaler, dtype: type) -> None:
    x = table()
    x[:, 0] -= 1.64e9 if dtype is np.float16 else 0  # beyond the range of halves
    scaler = fitted(scaler, x)
    narrow = (x / (1e3 if dtype is np.float16 else 1)).astype(dtype)
    empty = Standardize()
    empty.load_state_dict(scaler.to_module().state_dict())
    for layer in (scaler.to_module(), empty):
        output = layer(torch.from_numpy(narrow))
        assert output.numpy().dtype == dtype
        np.testing.assert_array_equal(output.numpy(), scaler.transform(narrow))


def test_one_object_has_one_fingerprint(tmp_path: Path) -> None:
    scaler = StandardScaler().fit(table())
    scaler.save(tmp_path / "inputs.json")
    empty = Standardize()
    empty.load_state_dict(scaler.to_module().state_dict())
    loaded = StandardScaler.load(tmp_path / "inputs.json")
    assert scaler.fingerprint == scaler.to_module().fingerprint == empty.fingerprint == loaded.fingerprint
    assert scaler.fingerprint != MinMaxScaler().fit(table()).fingerprint
    assert scaler.fingerprint != StandardScaler().fit(table()[1:]).fingerprint


def test_float32_unix_time_keeps_what_its_input_has() -> None:
    seconds = np.float32(1.64e9) + np.arange(-64, 64, dtype=np.float32)[:, None] * 128  # the grid of float32 there
    layer = StandardScaler().fit(seconds).to_module()
    exact = (seconds.astype(np.float64) - seconds.astype(np.float64).mean()) / seconds.astype(np.float64).std()
    output = layer(torch.from_numpy(seconds)).numpy()
    # Three roundings: of the difference, of the rest, of the quotient, and that of the scale.
    np.testing.assert_allclose(output, exact, rtol=4 * 2.0**-24, atol=0)


def test_an_unfitted_layer_raises() -> None:
    with pytest.raises(NotFittedError, match="empty layer"):
        Standardize()(torch.zeros(2, 3))


@pytest.mark.parametrize("shape", [(2, 3), (5,), ()])
def test_a_wrong_width_is_named(shape: tuple[int, ...]) -> None:
    layer = StandardScaler().fit(table()).to_module()
    with pytest.raises(BatchError, match=r"wanted 4 columns .* got shape"):
        layer(torch.zeros(shape))


def test_columns_by_name_are_stacked_in_their_order_and_others_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 3.0], "b": [10.0, 30.0]})
    layer = StandardScaler().fit(frame).to_module()
    batch = {"b": torch.tensor([10.0, 20.0]), "a": torch.tensor([3.0, 1.0])}
    assert layer(batch).tolist() == [[1.0, -1.0], [-1.0, 0.0]]
    with pytest.raises(BatchError, match="missing 'b', not expected 'c'"):
        layer({"a": batch["a"], "c": batch["b"]})


def test_a_state_dict_of_other_columns_is_refused() -> None:
    pandas = pytest.importorskip("pandas")
    one, other = (StandardScaler().fit(pandas.DataFrame({name: [1.0, 2.0]})).to_module() for name in "ab")
    with pytest.raises(RuntimeError, match="missing 'a', not expected 'b'"):
        one.load_state_dict(other.state_dict())
    assert one.names == ("a",)


def test_columns_in_another_order_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [10.0, 30.0]})
    layer = StandardScaler().fit(frame).to_module()
    with pytest.raises(RuntimeError, match="another order"):
        layer.load_state_dict(StandardScaler().fit(frame[["b", "a"]]).to_module().state_dict())


def test_a_damaged_header_is_refused() -> None:
    state = StandardScaler().fit(table()).to_module().state_dict()
    state["header"] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    with pytest.raises(RuntimeError, match="damaged state_dict"):
        Standardize().load_state_dict(state)


def test_a_state_without_the_statistics_is_missing_keys() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        nn.Sequential(Standardize(), nn.Linear(4, 1)).load_state_dict(
            nn.Sequential(nn.Identity(), nn.Linear(4, 1)).state_dict()
        )


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.double, lambda m: m.to(torch.bfloat16)])
def test_casting_the_model_leaves_the_statistics_whole(cast) -> None:
    scaler = StandardScaler().fit(table())
    model = cast(nn.Sequential(scaler.to_module(), nn.Linear(4, 1)))
    x = table().astype(np.float32)
    np.testing.assert_array_equal(model[0](torch.from_numpy(x)).numpy(), scaler.transform(x))
    assert model[0].shift.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_come_back_as_halves_of_the_float32_result(dtype: torch.dtype) -> None:
    layer = StandardScaler().fit(np.array([[1000.0], [1008.0]])).to_module()
    x = torch.tensor([[1000.0], [1008.0], [1032.0]], dtype=dtype)
    torch.testing.assert_close(layer(x), layer(x.float()).to(dtype), rtol=0, atol=0)
    assert layer(x).tolist() == [[-1.0], [1.0], [7.0]]


def test_integers_come_back_in_the_default_dtype() -> None:
    layer = MinMaxScaler().fit(np.array([[0], [255]])).to_module()
    output = layer(torch.tensor([[0], [51], [255]], dtype=torch.uint8))
    assert output.dtype == torch.get_default_dtype()
    assert output[:, 0].tolist() == pytest.approx([0.0, 0.2, 1.0], rel=2**-24)


def test_channels_lie_on_the_axis_that_was_named() -> None:
    images = np.random.default_rng(0).normal(3, 2, (8, 5, 4, 3))
    scaler = StandardScaler().fit(images.reshape(-1, 3))
    first = scaler.to_module(axis=1)(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    last = scaler.to_module()(torch.from_numpy(images))
    assert torch.equal(first.permute(0, 2, 3, 1), last)
    empty = Standardize()
    empty.load_state_dict(scaler.to_module(axis=1).state_dict())
    assert empty.about.axis == 1


def test_values_outside_of_what_was_seen_are_counted() -> None:
    layer = StandardScaler().fit(np.array([[0.0], [1.0]])).to_module(count_out_of_range=True)
    layer(torch.tensor([[-1.0], [0.0], [1.0], [2.0], [math.nan]]))
    layer(torch.tensor([[5.0]]))
    drift = layer.drift["x0"]
    assert (drift.num_values, drift.num_below, drift.num_above, drift.num_nan) == (6, 1, 2, 1)
    layer.reset_drift()
    assert layer.drift["x0"].num_values == 0
    assert "num_values" not in layer.state_dict()


def test_the_data_themselves_are_in_range_in_every_dtype() -> None:
    x = table()[:, :2]
    layer = StandardScaler().fit(x).to_module(count_out_of_range=True)
    for dtype in (torch.float64, torch.float32):
        layer(torch.from_numpy(x).to(dtype))
    assert all(drift.num_below == drift.num_above == 0 for drift in layer.drift.values())


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=20))
@settings(deadline=None)
def test_the_ends_of_a_range_are_exact_in_float32(values: list[float]) -> None:
    x = np.array(values, dtype=np.float32)[:, None]
    output = MinMaxScaler().fit(x).to_module()(torch.from_numpy(x))[:, 0]
    assert output.min() == 0
    assert output.max() == (1 if x.max() > x.min() else 0)


def test_deepcopy_pickle_and_safetensors_keep_the_layer(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    model = nn.Sequential(StandardScaler().fit(table()).to_module(), nn.Linear(4, 1))
    x = torch.from_numpy(table())
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    for state in (
        safetensors.load_file(tmp_path / "model.safetensors"),
        torch.load(tmp_path / "model.pt", weights_only=True),
        copy.deepcopy(model).state_dict(),
    ):
        fresh = nn.Sequential(Standardize(), nn.Linear(4, 1))
        fresh.load_state_dict(state)
        torch.testing.assert_close(fresh[0](x), model[0](x), rtol=0, atol=0, equal_nan=True)


def test_infinity_goes_through_as_infinity() -> None:
    layer = StandardScaler().fit(table()).to_module()
    assert layer(torch.full((1, 4), math.inf)).isinf().all()


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(feature_range=(-1, 2), clip=True)], ids=repr)
def test_export_gives_the_same_bits(scaler: ColumnScaler) -> None:
    layer, x = fitted(scaler, table()).to_module(), torch.from_numpy(table().astype(np.float32))
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.testing.assert_close(program.module()(x[:9]), layer(x[:9]), rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_compile_gives_the_same_bits() -> None:
    layer, x = StandardScaler().fit(table()).to_module(), torch.from_numpy(table().astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(layer, fullgraph=True)(x)
    torch.testing.assert_close(compiled, layer(x), rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("scaler", "dtype"),
    [
        (StandardScaler(), torch.float32),
        (StandardScaler(), torch.float16),
        (MinMaxScaler(), torch.float64),
        (MaxAbsScaler(clip=True), torch.float32),
    ],
    ids=repr,
)
def test_onnx_runtime_subtracts_and_divides_to_the_same_bits(scaler: ColumnScaler, dtype: torch.dtype) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    data = table() - [1.64e9 if dtype == torch.float16 else 0, 0, 0, 0]
    layer, x = fitted(scaler, data / 1e3).to_module(), torch.from_numpy(data / 1e3).to(dtype)
    model = torch.onnx.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},), verbose=False).model_proto
    kinds = [node.op_type for node in model.graph.node if node.op_type != "Cast"]
    assert kinds[:3] == ["Sub", "Sub", "Div"]
    assert "Mul" not in kinds
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_array_equal(output, layer(x).numpy())

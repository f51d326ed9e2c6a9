"""What rules ask of the graph."""

import pytest

from onesigma.model.trace import Record, Trace
from onesigma.rules._flow import Flow, units, width_slack
from onesigma.rules._recurrent import recurrent_std

from .traces import activation, call, chain, linear, parameter, signal, trace, with_gradients


def test_readers_are_seen_through_reshapes_and_dropout() -> None:
    flow = Flow(trace(linear(0, source=-1), call(1, "view", "shape"), call(2, "dropout", "dropout"), activation(3)))
    assert [reader.op for reader in flow.readers(0)] == ["relu"]


def test_a_head_is_found_behind_its_activation_and_loss() -> None:
    found = Flow(trace(linear(0, source=-1), activation(1), linear(2), activation(3, "sigmoid"), outputs=(3,)))
    assert [head.index for head in found.heads()] == [2]


def test_a_trunk_of_a_chain_is_all_of_it() -> None:
    found = with_gradients(chain(1.0, 1.0), dict.fromkeys(range(5), 1.0))
    assert [record.index for record in Flow(found).bottlenecks] == [0, 1, 2, 3, 4]


def test_a_trunk_of_a_residual_network_leaves_out_its_branches() -> None:
    records = (
        linear(0, source=-1),
        linear(1, source=0),
        activation(2),
        linear(3),
        call(4, "add", "join", sources=(0, 3)),
        linear(5),
    )
    found = with_gradients(trace(*records), dict.fromkeys(range(6), 1.0))
    assert [record.index for record in Flow(found).bottlenecks] == [0, 4, 5]


def test_a_trunk_goes_through_reshapes_whose_gradient_was_not_measured() -> None:
    records = (linear(0, source=-1), call(1, "view", "shape"), linear(2), call(3, "add", "join", sources=(1, 2)))
    found = with_gradients(trace(*records), {0: 1.0, 2: 1.0, 3: 1.0})
    assert [record.index for record in Flow(found).bottlenecks] == [0, 3]


def test_units_are_channels_of_a_convolution_and_features_of_anything_else() -> None:
    assert units(Record(index=0, op="conv2d", kind="linear", shape=(8, 16, 5, 5))) == 16
    assert units(Record(index=0, op="linear", kind="linear", shape=(8, 16, 5))) == 5
    assert units(Record(index=0, op="linear", kind="linear")) == 1


def test_slack_falls_like_one_over_the_root_of_the_width() -> None:
    narrow, wide = (linear(0, shape=(4, width), output=None) for width in (16, 1600))
    assert (width_slack(narrow) - 1) / (width_slack(wide) - 1) == pytest.approx(10)


def test_recurrent_std_adds_what_input_and_state_bring() -> None:
    record = call(
        0,
        "lstm",
        "recurrent",
        sources=(-1,),
        parameters={"weight_ih_l0": "ih", "weight_hh_l0": "hh", "bias_ih_l0": "b"},
        input=signal(2.0),
        output=signal(0.5),
    )
    weights = (parameter("ih", 1.0, shape=(16, 9)), parameter("hh", 1.0, shape=(16, 64)))
    found = Trace(records=(record,), parameters=weights)
    assert recurrent_std(found, record) == (9 * 2.0**2 + 64 * 0.5**2) ** 0.5


def test_recurrent_std_is_unknown_without_its_weights() -> None:
    record = call(0, "lstm", "recurrent", sources=(-1,))
    assert recurrent_std(Trace(records=(record,)), record) is None


def test_a_trunk_begins_where_all_ways_from_the_data_have_met() -> None:
    gate, expert, joined = linear(0, source=-1), linear(1, source=-1), call(2, "mul", "product", sources=(0, 1))
    found = trace(gate, expert, joined, linear(3))
    with_all = with_gradients(found, dict.fromkeys(range(4), 1.0))
    assert [record.index for record in Flow(with_all).bottlenecks] == [2, 3]

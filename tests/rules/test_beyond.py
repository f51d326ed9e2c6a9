"""Targets beyond their loss, noise beyond the signal, softmaxes that choose, weights that stand."""

import math
from dataclasses import replace

import pytest

from onesigma.model.trace import Trace
from onesigma.rules import judge

from .traces import SAMPLES, activation, activity, call, chain, column, features, linear, loss, parameter, signal, trace

BCE = "binary_cross_entropy_with_logits"


def graver(found: Trace, code: str) -> list[tuple[str, str]]:
    return [(each.layer, each.severity) for each in judge(found, select=[code]) if each.severity != "info"]


def likelihood(name: str, low: float, high: float) -> Trace:
    ends = {"target_min": low, "target_max": high}
    return trace(linear(0, source=-1), call(1, name, "loss", attributes=ends), outputs=(0,), loss=loss(0.7))


@pytest.mark.parametrize(("low", "high", "count"), [(0, 1, 0), (0.05, 0.95, 0), (-1, 1, 1), (0, 255, 1)])
def test_a_binary_cross_entropy_is_a_likelihood_of_0_to_1_alone(low: float, high: float, count: int) -> None:
    found = likelihood(BCE, float(low), float(high))
    assert graver(found, "INP105") == [("targets", "error")] * count


@pytest.mark.parametrize(("low", "count"), [(0.0, 0), (-2.0, 1)])
def test_a_poisson_likelihood_counts_from_zero(low: float, count: int) -> None:
    assert len(graver(likelihood("poisson_nll_loss", low, 40.0), "INP105")) == count


@pytest.mark.parametrize(("before", "count"), [("relu", 1), ("softplus", 1), ("tanh", 0)])
def test_a_sigmoid_behind_a_rectifier_cannot_say_less_than_a_half(before: str, count: int) -> None:
    layers = linear(0, source=-1), activation(1, before), activation(2, "sigmoid")
    binary = features(column("0", 0.5, 0.5, low=0.0, high=1.0), name="targets")
    found = trace(*layers, call(3, "binary_cross_entropy", "loss"), outputs=(2,), targets=binary, loss=loss(0.7))
    assert graver(found, "INP105") == [("targets", "error")] * count


@pytest.mark.parametrize(
    ("rate", "training", "count"), [(0.5, True, 0), (0.6, True, 0), (0.8, True, 1), (0.8, False, 0)]
)
def test_a_dropout_is_judged_by_its_noise_over_its_signal(rate: float, training: bool, count: int) -> None:
    dropout = call(1, "dropout", "dropout", attributes={"p": rate}, training=training)
    found = trace(linear(0, source=-1), dropout, linear(2))
    assert graver(found, "NRM603") == [("1", "warning")] * count


def test_a_router_is_judged_by_the_std_of_its_logits() -> None:
    def routed(std: float) -> Trace:
        weights = activation(1, "softmax", shape=(SAMPLES, 4), input=signal(std), output=signal(0.1))
        return trace(linear(0, std, source=-1), weights, call(2, "mul", "product", sources=(-1, 1)))

    assert graver(routed(1.0), "INI201") == []
    assert graver(routed(8.0), "INI201") == [("0", "warning")]


@pytest.mark.parametrize(("scale", "count"), [({}, 0), ({"scale": 1.0}, 1)])
def test_logits_of_a_fused_attention_are_computed_from_queries_and_keys(scale: dict[str, float], count: int) -> None:
    made = [linear(i, 1.0, source=-1, shape=(SAMPLES, 8, 64)) for i in range(3)]
    fused = call(3, "scaled_dot_product_attention", "attention", sources=(0, 1, 2), attributes=scale)
    # Without the division by √64 the logits of unit queries and keys have a std of 8.
    assert graver(trace(*made, fused), "INI201") == [("3", "warning")] * count


@pytest.mark.parametrize(("std", "severity"), [(1.0, []), (2.0, ["warning"]), (4.0, ["error"])])
def test_the_tanh_of_an_lstm_saturates_as_any_other(std: float, severity: list[str]) -> None:
    parameters = {"weight_ih_l0": "rnn.weight_ih_l0"}
    rnn = call(0, "lstm", "recurrent", sources=(-1,), layer="rnn", parameters=parameters)
    weight = parameter("rnn.weight_ih_l0", std / math.sqrt(16), shape=(256, 16))
    assert [each for _, each in graver(trace(rnn, parameters=(weight,)), "ACT301")] == severity


def test_a_loss_with_a_minus_sign_alone_is_a_warning() -> None:
    assert graver(chain(1.0, loss=loss(-2.3, -2.302585, chance_name="log 10, negated")), "LOS702") == [("", "warning")]


@pytest.mark.parametrize(("trainable", "count"), [(False, 1), (True, 0)])
def test_norms_that_learn_among_frozen_weights_are_a_warning(trainable: bool, count: int) -> None:
    weights = parameter("0.weight", trainable=trainable), parameter("1.weight", gradient=1.0, shape=(64,))
    assert graver(chain(1.0, loss=loss(2.3), parameters=weights), "UPD502") == [("", "warning")] * count


@pytest.mark.parametrize(("gain", "layer"), [(1.0, ""), (8.0, "2")])
def test_a_loss_too_large_is_named_at_a_head_that_multiplies(gain: float, layer: str) -> None:
    assert graver(chain(1.0, head=gain, loss=loss(9.0)), "LOS701") == [(layer, "error")]


def test_a_pair_of_convolutions_is_low_in_rank_by_its_channels() -> None:
    def pair(channels: int) -> Trace:
        first = linear(0, source=-1, shape=(SAMPLES, 16, 8, 8), fan_in=9 * channels)
        second = linear(1, shape=(SAMPLES, 32, 8, 8), fan_in=144)
        weights = parameter("0.weight", shape=(16, channels, 3, 3)), parameter("1.weight", shape=(32, 16, 3, 3))
        convolutions = (replace(each, op="conv2d") for each in (first, second))
        return trace(*convolutions, activation(2), linear(3), parameters=weights)

    assert graver(pair(3), "STR801") == [("1", "warning")]
    assert graver(pair(64), "STR801") == []


def test_a_latent_of_zeros_is_to_blame_and_not_the_layer_that_reads_it() -> None:
    layers = linear(0, source=-1), activation(1), linear(2, 0.0), linear(3, 0.0, reads=0.0), activation(4), linear(5)
    assert graver(trace(*layers), "INI202") == [("2", "error")]


def test_a_scale_per_unit_may_start_equal_but_the_weights_of_one_input_may_not() -> None:
    equal = {"gradient": 0.1, "duplicate_rows": 1.0, "equal_rows": 1.0}
    gain = parameter("0.gain", shape=(64, 1, 1, 1), **equal)
    weight = parameter("0.weight", shape=(64, 1), **equal)
    found = trace(linear(0, source=-1), activation(1), linear(2))
    assert graver(replace(found, parameters=(gain,)), "INI204") == []
    assert graver(replace(found, parameters=(weight,)), "INI204") == [("0", "error")]


def test_behind_a_branch_that_starts_at_zero_nobody_is_accused() -> None:
    silent, reading = linear(1, 0.0, reads=0.0), linear(1, 0.0)
    dead = activation(2, activity=activity(dead_units=1.0))
    behind, at_fault = (trace(linear(0, source=-1), each, dead, linear(3)) for each in (silent, reading))
    assert graver(behind, "INI202") == []
    assert graver(behind, "ACT302") == []
    assert graver(at_fault, "INI202") == [("1", "error")]
    assert graver(at_fault, "ACT302") != []


def test_what_computes_a_gate_may_be_small() -> None:
    squeeze = linear(0, 0.02, source=-1), activation(1), linear(2), activation(3, "sigmoid")
    gated = call(4, "mul", "product", sources=(-1, 3))
    assert graver(trace(*squeeze, gated, linear(5)), "INI202") == []
    assert graver(trace(*squeeze[:3], activation(3), linear(4)), "INI202") == [("0", "warning")]


def test_a_fixed_transform_twice_is_no_missing_nonlinearity() -> None:
    found = trace(linear(0, source=-1), linear(1), activation(2), linear(3))
    learns = [parameter(f"{index}.weight", shape=(64, 64)) for index in (0, 1, 3)]
    fixed = [replace(each, trainable=False) for each in learns[:2]]
    assert len(graver(replace(found, parameters=tuple(learns)), "STR801")) == 1
    assert graver(replace(found, parameters=(*fixed, learns[2])), "STR801") == []


def test_late_branches_that_add_next_to_nothing_drown_nobody() -> None:
    def stream(late: float) -> Trace:
        records = [linear(0, source=-1)]
        for block in range(8):
            join, index = records[-1], 2 * block + 1
            branch = linear(index, 1e-6 if block < 4 else late, source=join.index)
            records += [branch, call(index + 1, "add", "join", sources=(join.index, index), output=signal(1.0))]
        return trace(*records)

    assert graver(stream(0.05), "INI205") == []
    assert graver(stream(0.5), "INI205") == [("16", "error")]


@pytest.mark.parametrize(("fan_in", "count"), [(64, 1), (4, 0), (2, 1)])
def test_heads_that_talk_behind_a_softmax_are_no_hidden_softmax(fan_in: int, count: int) -> None:
    weights = activation(1, "softmax", shape=(32, 4, 64, 64), attributes={"dim": -1})
    found = trace(linear(0, source=-1), weights, linear(2, fan_in=fan_in))
    assert len(graver(found, "STR802")) == count

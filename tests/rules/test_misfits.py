"""What a rule's golden case does not show: further faults of the same code, and what only looks like them."""

from dataclasses import replace

import pytest

from onesigma.model.trace import InputRecord, ParameterRecord, Trace
from onesigma.rules import Finding, judge

from .traces import SAMPLES, activation, call, chain, column, features, linear, loss, parameter, signal, trace

REGRESSION = loss(2.0, 1.0, name="mse", chance_name="variance of the targets")
UNIT = column("0", 0.0, 1.0)


def graver(found: Trace, code: str) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in judge(found, select=[code]) if each.severity != "info"]


def row_of_outputs(**more: object) -> Trace:
    squeezed = call(1, "squeeze", "shape", shape=(SAMPLES,))
    return trace(linear(0, source=-1, shape=(SAMPLES, 1)), squeezed, **more)  # type: ignore[arg-type]


def test_a_column_of_targets_against_a_row_of_outputs_is_an_error() -> None:
    found = row_of_outputs(targets=features(UNIT, name="targets"), loss=REGRESSION)
    assert graver(found, "INP105") == [("INP105", "error")]


def test_a_loss_of_one_s_own_may_squeeze_its_targets() -> None:
    found = row_of_outputs(targets=features(UNIT, name="targets"), loss=replace(REGRESSION, name="<lambda>"))
    assert graver(found, "INP105") == []


def test_a_softmax_cannot_reach_labels_that_are_not_exclusive() -> None:
    hot = [column(str(i), 0.5, 0.5, low=0, high=1) for i in range(10)]
    one = [column(str(i), 0.1, 0.3, low=0, high=1) for i in range(10)]
    last = activation(1, "softmax", shape=(SAMPLES, 10))
    several, single = (
        trace(linear(0, source=-1), last, targets=features(*labels, name="targets"), loss=loss(0.7))
        for labels in (hot, one)
    )
    assert graver(several, "INP105") == [("INP105", "error")]
    assert graver(single, "INP105") == []


@pytest.mark.parametrize("rows", [4, 512])
def test_targets_that_are_all_the_same_are_a_warning_from_eight_rows_on(rows: int) -> None:
    same = column("0", 4.0, 0.0, low=4.0, high=4.0)
    targets = features(same, name="targets", rows=rows)
    expected = [("INP105", "warning")] if rows >= 8 else []
    assert graver(chain(1.0, targets=targets, loss=REGRESSION), "INP105") == expected


@pytest.mark.parametrize(("entropy", "count"), [(0.0, 1), (1.2, 0)])
def test_one_class_throughout_is_a_warning(entropy: float, count: int) -> None:
    labels = InputRecord(name="targets", kind="labels", shape=(SAMPLES,), num_classes=10, entropy=entropy)
    assert len(graver(chain(1.0, targets=labels, loss=loss(2.3)), "INP105")) == count


def test_a_choice_among_one_class_is_a_constant_output() -> None:
    found = chain(1.0, loss=loss(0.0, 0.0, chance_name="log 1"))
    assert graver(found, "LOS704") == [("LOS704", "error")]


@pytest.mark.parametrize(("first", "second", "count"), [("sigmoid", "sigmoid", 1), ("log_softmax", "log_softmax", 0)])
def test_probabilities_squashed_again_are_probabilities_fed_as_logits(first: str, second: str, count: int) -> None:
    layers = linear(0, source=-1), activation(1, first), activation(2, second)
    found = trace(*layers, call(3, "binary_cross_entropy", "loss"), outputs=(2,), loss=loss(0.7))
    assert len(graver(found, "LOS705")) == count


@pytest.mark.parametrize(("rms", "nonfinite", "count"), [(0.25, 0, 0), (0.49, 0, 1), (0.49, 0.6, 0)])
def test_a_router_that_chooses_is_a_warning_and_a_mask_is_none(rms: float, nonfinite: float, count: int) -> None:
    reads = signal(1.0)
    reads = replace(reads, nonfinite=int(nonfinite * reads.count))
    weights = activation(1, "softmax", shape=(SAMPLES, 4), input=reads, output=replace(signal(0.4), rms=rms))
    found = trace(linear(0, source=-1), weights, call(2, "mul", "product", sources=(-1, 1)))
    assert graver(found, "ACT301") == [("ACT301", "warning")] * count


def cut(*, trainable: bool = True, head: float = 1.0) -> Trace:
    """A body whose weight gets no gradient, and a head that gets one."""
    weights: tuple[ParameterRecord, ...] = (
        parameter("0.weight", trainable=trainable),
        parameter("2.weight", head, gradient=1.0),
    )
    return chain(1.0, loss=loss(2.3), parameters=weights)


def test_a_body_cut_off_from_the_loss_is_an_error() -> None:
    assert graver(cut(), "GRA401") == [("GRA401", "error")]


def test_a_frozen_body_and_one_behind_a_head_of_zeros_are_none() -> None:
    assert graver(cut(trainable=False), "GRA401") == graver(cut(head=0.0), "GRA401") == []


def below_chance(bias: ParameterRecord) -> list[Finding]:
    both = tuple(replace(bias, name=f"{layer}.bias") for layer in (0, 2))
    return list(judge(chain(1.0, loss=loss(0.1), parameters=both), select=["LOS702"]))


def test_a_loss_below_chance_is_an_info_where_biases_have_left_their_start() -> None:
    # torch draws U(±1/8) for fan_in 64, whose std is 1/(8·√3) = 0.0722.
    drawn = replace(signal(0.0722), minimum=-0.125, maximum=0.125)
    fresh, moved = (parameter("2.bias", shape=(64,)) for _ in range(2))
    assert [each.severity for each in below_chance(replace(fresh, value=drawn))] == ["warning"]
    assert [each.severity for each in below_chance(replace(moved, value=signal(0.3)))] == ["info"]


def test_a_loss_below_chance_is_an_info_where_rows_are_compared_with_rows() -> None:
    square = {"shape": (SAMPLES, SAMPLES)}
    layers = linear(0, source=-1), call(1, "matmul", "attention", sources=(0, 0), **square)
    found = trace(*layers, call(2, "cross_entropy", "loss"), outputs=(0,), loss=loss(0.1))
    assert [each.severity for each in judge(found, select=["LOS702"])] == ["info"]


def test_a_spread_of_hundreds_is_a_warning_also_where_no_column_is_large() -> None:
    narrow, wide = column("0", 0.0, 0.002), column("1", 0.0, 0.6)
    assert graver(chain(1.0, inputs=(features(narrow, wide),)), "INP102") == [("INP102", "warning")]


def test_a_constant_offset_of_the_input_explains_outputs_that_are_all_alike() -> None:
    head = linear(2, output=signal(1.0, varies=1e-4), input=signal(1.0, varies=1e-4))
    data = features(column("0", 1e6, 10.0))
    found = trace(
        linear(0, 1e5, source=-1), activation(1), head, inputs=(replace(data, signal=signal(10.0, mean=1e6)),)
    )
    assert {each.code: each.cause for each in judge(found)}["ACT304"] == "INP101"

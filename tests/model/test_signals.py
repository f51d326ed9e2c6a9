"""Scale of tensors: every number against its textbook formula in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onesigma.model import reduction
from onesigma.model.signals import Ledger, Moments, sample_axis
from onesigma.numbers.threads import shared_out


def signal(tensor, *, num_samples=0, histogram=False):
    ledger = Ledger()
    slot = ledger.add(tensor, num_samples=num_samples, histogram=histogram)
    ledger.collect()
    return ledger.moments(slot).signal()


def check(tensor, found, *, axis):
    values = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
    # All sums are carried in float64, so the numbers agree to a few of its units times the condition of the sum.
    close = {"rel": 1e-9, "abs": 1e-9 * values.abs().max().item()}
    assert found.mean == pytest.approx(values.mean().item(), **close)
    assert found.std == pytest.approx(values.std(correction=0).item(), **close)
    assert found.rms == pytest.approx(values.square().mean().sqrt().item(), **close)
    assert (found.minimum, found.maximum) == (values.min().item(), values.max().item())
    if axis is None:
        assert (found.num_samples, found.sample_std, found.correlation) == (0, None, None)
        return
    rows = values.movedim(axis, 0).reshape(values.shape[axis], -1)
    gram = rows @ rows.T
    num_samples = len(rows)
    pairs = (gram.sum() - gram.trace()) / (num_samples * (num_samples - 1))
    assert found.sample_std == pytest.approx(rows.var(0, correction=0).mean().sqrt().item(), **close)
    assert found.correlation == pytest.approx((pairs / (gram.trace() / num_samples)).item(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("piece", [1 << 20, 64], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("tensor", "axis"),
    [
        (torch.randn(8, 5, 6, 6) * 3 + 1, 0),
        (torch.randn(8, 5, 6, 6).to(memory_format=torch.channels_last), 0),
        (torch.randn(8, 1200), 0),
        (torch.randn(8), 0),
        (torch.randn(7, 8, 5) + 100, 1),
        (torch.randn(5, 8, 3).transpose(0, 1), 0),
        (torch.randn(9, 3), None),
        (torch.randn(13), None),
        (torch.randn(13, 7)[:, ::2], None),
        (torch.randn(8, 40).half(), 0),
        (torch.randn(8, 40).bfloat16(), 0),
        (torch.randn(8, 40, dtype=torch.float64) * 1e-30, 0),
        (torch.randn(8, 40) * 1e30, 0),
        (torch.randn(8, 40) * 1e-30, 0),
        (torch.randn(8, 4, dtype=torch.complex64), 0),
        (torch.randint(-5, 5, (8, 40)), 0),
        (torch.randn(8, 40) > 0, 0),
        (torch.randn(8, 40) + 1e4, 0),
    ],
)
def test_every_number_is_that_of_its_formula(tensor, axis, piece, monkeypatch):
    monkeypatch.setattr(reduction, "_PIECE", piece)
    check(tensor, signal(tensor, num_samples=8), axis=axis)


@pytest.fixture
def threads_used(monkeypatch):
    """Cuts tensors into so many pieces that threads share them, and lists how many threads each reduction was given."""
    used, before = [], torch.get_num_threads()

    def watched(work, tasks, *, threads):
        used.append(min(threads, len(tasks)))
        return shared_out(work, tasks, threads=threads)

    monkeypatch.setattr(reduction, "_PIECE", 1 << 16)
    monkeypatch.setattr(reduction, "shared_out", watched)
    yield used
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(
    "tensor",
    [torch.randn(8, 700, 400), torch.randn(400, 8, 700).transpose(0, 1), torch.randn(8, 200_000).half()],
    ids=["in one stretch", "strided", "half"],
)
def test_pieces_of_a_large_tensor_add_up_to_the_whole(tensor, num_threads, threads_used):
    torch.set_num_threads(num_threads)
    check(tensor, signal(tensor, num_samples=8), axis=0)
    assert threads_used == [num_threads]


def test_numbers_do_not_depend_on_threads(threads_used):
    tensor, found = torch.randn(8, 300_000), []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        found.append(signal(tensor, num_samples=8, histogram=True))
    assert found[0] == found[1] == found[2]
    assert threads_used == [1, 2, 3]


def test_a_tensor_of_few_pieces_starts_no_thread(threads_used):
    torch.set_num_threads(2)
    signal(torch.randn(8, 8192 * (reduction._SHARED - 1)), num_samples=8)
    assert max(threads_used, default=1) == 1


def test_a_constant_has_a_std_of_exactly_zero():
    found = signal(torch.full((7, 3), 0.1), num_samples=7, histogram=True)
    assert (found.std, found.sample_std, found.mean) == (0.0, 0.0, torch.tensor(0.1).item())
    assert found.correlation == pytest.approx(1.0, abs=1e-12)
    assert sum(found.histogram) == 21


def test_equal_samples_have_a_sample_std_of_exactly_zero_and_correlate_fully():
    found = signal(torch.randn(1, 50).expand(7, 50) * 0.1, num_samples=7)
    assert found.sample_std == 0.0
    assert found.correlation == pytest.approx(1.0, abs=1e-12)


def test_what_depends_on_the_sample_is_seen_far_below_the_mean():
    tensor = 1 + 1e-6 * torch.randn(64, 50)
    rows = tensor.double()
    found = signal(tensor, num_samples=64)
    assert found.sample_std == pytest.approx(rows.var(0, correction=0).mean().sqrt().item(), rel=1e-6)


def test_nonfinite_values_are_counted_and_left_out():
    tensor = torch.randn(8, 30)
    tensor[0, 0], tensor[1, 2], tensor[2, 3] = math.nan, math.inf, -math.inf
    finite = tensor[tensor.isfinite()].double()
    found = signal(tensor, num_samples=8, histogram=True)
    assert (found.count, found.nonfinite, sum(found.histogram)) == (240, 3, 237)
    assert found.mean == pytest.approx(finite.mean().item(), rel=1e-6)
    assert found.std == pytest.approx(finite.std(correction=0).item(), rel=1e-6)
    assert (found.minimum, found.maximum) == (finite.min().item(), finite.max().item())
    assert found.sample_std is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_tensor_without_a_finite_value_has_no_scale(value):
    found = signal(torch.full((4, 3), value), num_samples=4, histogram=True)
    assert (found.count, found.nonfinite, found.mean, found.std) == (12, 12, 0.0, 0.0)
    assert (found.minimum, found.maximum) == (0.0, 0.0)


def test_an_empty_tensor_and_a_scalar_have_numbers_too():
    assert signal(torch.zeros(0, 3)).count == 0
    assert signal(torch.tensor(3.0)).mean == 3.0


def test_a_histogram_counts_every_value_between_its_edges():
    tensor = torch.randn(1000)
    found = signal(tensor, histogram=True)
    expected = torch.histc(tensor.double(), 64, *found.edges)
    assert found.edges == (tensor.min().item(), tensor.max().item())
    assert list(found.histogram) == expected.int().tolist()


def test_devices_and_host_reduce_alike():
    rows = torch.randn(8, 100) * 3 + 1
    torch.testing.assert_close(reduction._device_sums(rows), torch.from_numpy(reduction._host_sums(rows)))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**31))
def test_moments_of_parts_merge_to_those_of_the_whole(first, second, seed):
    values = torch.randn(first + second, generator=torch.Generator().manual_seed(seed)) + 10
    ledger = Ledger()
    slots = [ledger.add(part) for part in (values[:first], values[first:], values)]
    ledger.collect()
    a, b, whole = map(ledger.moments, slots)
    merged = a.merge(b).signal()
    assert merged.count == len(values)
    assert merged.mean == pytest.approx(whole.signal().mean, rel=1e-12)
    assert merged.std == pytest.approx(whole.signal().std, rel=1e-9, abs=1e-9)
    assert Moments().merge(a) == a.merge(Moments()) == a


@pytest.mark.parametrize(
    ("shape", "axis"), [((8, 5), 0), ((5, 8), 1), ((5, 8, 8), None), ((8, 8), 0), ((5, 5), None), ((), None)]
)
def test_the_axis_of_samples_is_the_first_that_fits_unless_that_is_a_guess(shape, axis):
    assert sample_axis(torch.zeros(shape), num_samples=8) == axis

"""Counter-based random numbers: the published generator, the same bits in every way of computing them."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfinv, ndtri
from torch._subclasses.fake_tensor import FakeTensorMode

from onesigma._errors import ConfigError
from onesigma.numbers import random_compiled, random_tensor
from onesigma.numbers.random import (
    Distribution,
    Normal,
    TruncatedNormal,
    Uniform,
    canonical_name,
    draw,
    draw_,
    key_of,
    keys_of,
)

KEY = 0x0123456789ABCDEF
DISTRIBUTIONS = [
    Uniform(),
    Uniform(-0.3, 7.0),
    Normal(),
    Normal(1.5, 0.02),
    TruncatedNormal(),
    TruncatedNormal(0.5, 2.0, -1.0, 9.0),
    TruncatedNormal(0.0, 1.0, 5.0, 6.0),
]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal as bits, so that also the sign of zero counts."""
    return a.dtype == b.dtype and a.contiguous().view(torch.uint8).equal(b.contiguous().view(torch.uint8))


def by_tensor_operations(distribution: Distribution, start: int, length: int) -> torch.Tensor:
    """What devices other than the CPU compute."""
    plan = distribution.plan(torch.float32)
    bits = random_tensor.stream(torch.tensor([start]), length, key=KEY)
    bits = random_tensor.truncate(bits, first=plan.first, num_cells=plan.num_cells)
    base = random_tensor.normals(bits) if plan.normal else random_tensor.uniforms(bits)
    return random_tensor.finish(base, scale=plan.scale, offset=plan.offset, minimum=plan.minimum, maximum=plan.maximum)[
        0
    ]


# Known answers of Random123 1.14.0 for philox4x32-10: counter, key, output.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def philox4x32(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """The generator as its paper prints it, in Python integers."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (p1 >> 32) ^ b ^ k0, p1 % 2**32, (p0 >> 32) ^ d ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [a, b, c, d]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_written_out_generator_gives_the_known_answers(
    counter: Sequence[int], key: Sequence[int], answer: str
) -> None:
    assert " ".join(f"{word:08x}" for word in philox4x32(counter, key)) == answer


def test_the_tensor_generator_gives_the_known_answer_of_zero() -> None:
    words = random_tensor.philox(torch.tensor([0]), key=0)[0]
    assert " ".join(f"{word:08x}" for word in words.tolist()) == KNOWN_ANSWERS[0][2]


@settings(deadline=None)
@given(st.integers(0, 2**62 - 1), st.integers(0, 2**64 - 1))
def test_the_tensor_generator_is_the_written_out_one(block: int, key: int) -> None:
    words = random_tensor.philox(torch.tensor([block]), key=key)[0].tolist()
    assert words == philox4x32((block % 2**32, block >> 32, 0, 0), (key % 2**32, key >> 32))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**62), st.integers(1, 200), st.integers(0, 2**64 - 1))
def test_the_compiled_generator_is_the_tensor_one(start: int, length: int, key: int) -> None:
    out = np.empty((1, length), np.float32)
    everything = (np.uint64(0), np.uint64(2**32), np.float32(1), np.float32(0), np.float32(-1), np.float32(2))
    random_compiled.fill(out, np.array([start]), np.uint64(key), random_compiled.UNIFORM, *everything)
    bits = random_tensor.stream(torch.tensor([start]), length, key=key)
    assert same_bits(torch.from_numpy(out), random_tensor.uniforms(bits))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS[:6])
@pytest.mark.parametrize("start", [0, 3, 2**33 + 1])
def test_compiled_and_tensor_operations_give_the_same_bits(distribution: Distribution, start: int) -> None:
    length = 20_011
    compiled = torch.empty(length)
    draw_(compiled, distribution, key=KEY, shape=(2**34,), indices=[range(start, start + length)])
    assert same_bits(compiled, by_tensor_operations(distribution, start, length))


def edge_words() -> torch.Tensor:
    """The middle, both sides of the tail's border and the end, on both sides: where the branches meet."""
    borders = torch.tensor([0, 2**31 - 2**22, 2**31, 2**32 - 2**22, 2**32])
    return (borders[:, None] + torch.arange(-3000, 3000)).clamp(0, 2**32 - 1).flatten().unique()


def compiled_normals(words: torch.Tensor) -> torch.Tensor:
    values, room = np.empty(len(words), np.float32), np.empty((len(words) + 39) // 8 * 8, np.uint8)
    random_compiled._normals(values, words.numpy().astype(np.uint32), room, np.float32(1), np.float32(0))
    return torch.from_numpy(values)


def test_normals_agree_bit_for_bit_at_the_borders_of_their_branches() -> None:
    words = edge_words()
    assert same_bits(compiled_normals(words), random_tensor.normals(words))


def test_normals_are_the_quantiles_of_their_cells_to_six_in_ten_millions() -> None:
    words = torch.cat([edge_words(), torch.arange(0, 2**32, 10007)])
    x = ((words % 2**31).double().numpy() + 0.5) / 2**31
    # Each inverse where it loses no digits: 1 − x is exact.
    size = np.where(x < 0.5, math.sqrt(2) * erfinv(x), -ndtri((1 - x) / 2))
    exact = np.where(words.numpy() < 2**31, size, -size)
    # The bound that the docstring of `probit` states: ten half-units of single precision.
    assert np.abs(compiled_normals(words).double().numpy() / exact - 1).max() < 6e-7


def test_normals_are_odd_and_reach_past_six_sigma() -> None:
    words = edge_words()
    assert same_bits(compiled_normals(words), -compiled_normals(words ^ 2**31))
    assert compiled_normals(torch.tensor([2**31 - 1])).item() == pytest.approx(ndtri(1 - 2.0**-33), rel=6e-7)


def test_normals_grow_with_the_cell_up_to_rounding() -> None:
    values = compiled_normals(torch.arange(0, 2**31, 5003)).double()
    falls = values.cummax(0).values - values
    assert (falls / values).max() < 6e-7


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_truncation_keeps_the_order_and_the_window(first: int, num_cells: int, bits: int) -> None:
    num_cells = min(num_cells, 2**32 - first)
    words = torch.tensor([0, bits, 2**32 - 1])
    lowest, drawn, highest = random_tensor.truncate(words, first=first, num_cells=num_cells).tolist()
    place = [word + 2**31 if word < 2**31 else 2**32 - 1 - word for word in (lowest, drawn, highest)]
    assert place[0] == first
    assert place[2] == first + num_cells - 1
    assert place[1] == first + bits * num_cells // 2**32


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_do_not_change_a_bit(distribution: Distribution, threads: int) -> None:
    shape = (1031, 1030) if distribution != DISTRIBUTIONS[-1] else (1031, 300)
    assert same_bits(draw(distribution, shape, key=KEY, threads=threads), draw(distribution, shape, key=KEY, threads=1))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    st.sampled_from(DISTRIBUTIONS),
    st.data(),
)
def test_any_part_of_a_tensor_gets_what_the_whole_has_there(
    shape: tuple[int, ...], distribution: Distribution, data: st.DataObject
) -> None:
    indices = [sorted(data.draw(st.sets(st.integers(0, size - 1)))) for size in shape]
    whole = draw(distribution, shape, key=KEY)
    for axis, places in enumerate(indices):
        whole = whole.index_select(axis, torch.tensor(places, dtype=torch.int64))
    part = draw_(torch.empty(whole.shape), distribution, key=KEY, shape=shape, indices=indices)
    assert same_bits(part, whole)


def test_a_part_that_is_not_contiguous_in_memory_gets_the_same() -> None:
    whole = draw(Normal(), (64, 48), key=KEY)
    transposed = draw_(torch.empty(48, 64).T, Normal(), key=KEY)
    strided = draw_(torch.empty(128, 96)[::2, ::2], Normal(), key=KEY)
    assert same_bits(transposed, whole)
    assert same_bits(strided, whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("distribution", [Normal(0.1, 0.02), TruncatedNormal()])
def test_narrow_dtypes_get_single_precision_draws_rounded_once(dtype: torch.dtype, distribution: Distribution) -> None:
    assert same_bits(draw(distribution, (5000,), key=KEY, dtype=dtype), draw(distribution, (5000,), key=KEY).to(dtype))


def test_doubles_get_single_precision_draws_scaled_in_double_precision() -> None:
    base = draw(Normal(), (5000,), key=KEY).double()
    assert draw(Normal(1e9, 1.0), (5000,), key=KEY, dtype=torch.float64).equal(base + 1e9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.1, 0.1), (1.0, 1.0 + 2**-7), (0.3, 0.3)])
def test_uniforms_stay_below_their_upper_bound_in_every_dtype(low: float, high: float, dtype: torch.dtype) -> None:
    values = draw(Uniform(low, high), (200_000,), key=KEY, dtype=dtype).double()
    if low == high:
        assert values.unique().numel() == 1
    else:
        assert values.min() >= low
        assert values.max() < high


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_truncated_normals_stay_within_their_bounds_in_every_dtype(dtype: torch.dtype) -> None:
    values = draw(TruncatedNormal(0.0, 1.0, -0.1, 0.7), (200_000,), key=KEY, dtype=dtype).double()
    assert values.min() >= -0.1
    assert values.max() <= 0.7


def test_another_key_another_stream_and_the_same_key_the_same_stream() -> None:
    first = draw(Normal(), (1000,), key=key_of(0, "a"))
    assert first.equal(draw(Normal(), (1000,), key=key_of(0, "a")))
    for other in (key_of(1, "a"), key_of(0, "b")):
        assert not (first == draw(Normal(), (1000,), key=other)).any()


# SHA-256 of the little-endian float32 values for seed 2026, name "blocks.0.mlp.weight", shape (257, 129).
GOLDEN = {
    Uniform(-1.0, 1.0): "307b3ca8ba7bd994196b9375bf12d47dc1fa8cd29f44954f53a5b3c8531032ee",
    Normal(0.0, 0.02): "4c7112accb94690dcac5aa592e91e762556622b944d1bf4486741f45da4437a7",
    TruncatedNormal(0.0, 1.0, -2.0, 2.0): "149e43518e74964b85725e556b144fb21f548885c29bc26039729ec79e45570c",
}


@pytest.mark.parametrize("distribution", GOLDEN)
def test_golden_hashes(distribution: Distribution) -> None:
    values = draw(distribution, (257, 129), key=key_of(2026, "blocks.0.mlp.weight"))
    assert hashlib.sha256(values.numpy().astype("<f4").tobytes()).hexdigest() == GOLDEN[distribution]


def test_golden_key() -> None:
    assert key_of(2026, "blocks.0.mlp.weight") == 0xE0FC2D5689C26C9F


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("fc.weight", "fc.weight"),
        ("module.fc.weight", "fc.weight"),
        ("_orig_mod.module.fc.weight", "fc.weight"),
        ("module._orig_mod.fc.weight", "fc.weight"),
        ("_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module.fc.weight", "blocks.0.fc.weight"),
        ("blocks.0._checkpoint_wrapped_module.fc.weight", "blocks.0.fc.weight"),
        ("fc.parametrizations.weight.original", "fc.weight"),
        ("fc.parametrizations.weight.original0", "fc.weight"),
        ("fc.parametrizations.weight.original1", "fc.weight.original1"),
        ("block.module.weight", "block.module.weight"),
        ("module", "module"),
        ("weight", "weight"),
    ],
)
def test_canonical_names_lose_what_wrappers_add(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
    assert key_of(3, name) == key_of(3, canonical)


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fc\.weight.*2 times"):
        keys_of(0, ["fc.weight", "fc.bias", "fc.weight"])


def test_names_that_wrappers_would_make_alike_keep_different_keys() -> None:
    keys = keys_of(0, ["module.fc.weight", "fc.weight", "module.fc.bias"])
    assert len(set(keys.values())) == 3
    assert keys["module.fc.bias"] == key_of(0, "fc.bias")


@pytest.mark.parametrize("seed", [0, -1, 2**70, np.int64(3), True])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert 0 <= key_of(seed, "a") < 2**64


def test_a_seed_that_is_no_integer_is_refused() -> None:
    with pytest.raises(TypeError):
        key_of(1.5, "a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "distribution",
    [
        Normal(math.nan, 1.0),
        Normal(0.0, math.inf),
        Normal(0.0, -1.0),
        Uniform(2.0, 1.0),
        Uniform(math.nan, 1.0),
        TruncatedNormal(0.0, 0.0),
        TruncatedNormal(0.0, -1.0),
        TruncatedNormal(0.0, math.nan),
        TruncatedNormal(0.0, 1.0, 2.0, 1.0),
        TruncatedNormal(0.0, 1.0, math.nan, 1.0),
    ],
)
def test_parameters_that_are_no_distribution_are_refused(distribution: Distribution) -> None:
    with pytest.raises(ConfigError):
        draw(distribution, (3,), key=KEY)


def test_a_part_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        draw_(torch.empty(3), Normal(), key=KEY, shape=(9,), indices=[range(4)])
    with pytest.raises(ConfigError, match="beyond"):
        draw_(torch.empty(3), Normal(), key=KEY, shape=(4,), indices=[range(2, 5)])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_tensors_of_one_or_no_element_are_filled(shape: tuple[int, ...]) -> None:
    values = draw(Normal(), shape, key=KEY)
    assert values.shape == shape
    assert values.flatten().tolist() == draw(Normal(), (1,), key=KEY).tolist()[: values.numel()]


def test_meta_and_fake_tensors_are_left_alone() -> None:
    assert draw(Normal(), (2**40,), key=KEY, device="meta").is_meta
    with FakeTensorMode():
        assert draw_(torch.empty(3), Normal(), key=KEY).shape == (3,)


def test_an_expanded_tensor_is_refused_as_torch_refuses_it() -> None:
    with pytest.raises(RuntimeError, match="single memory location"):
        draw_(torch.empty(3, 1).expand(3, 4), Normal(), key=KEY)


def test_no_global_random_state_is_read_or_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = draw(Normal(), (100,), key=KEY)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(1)
    assert draw(Normal(), (100,), key=KEY).equal(first)

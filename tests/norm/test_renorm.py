"""Batch Renormalization is BatchNorm where it must be, and inference where it may be."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma._errors import ConfigError
from onesigma.norm import BatchRenorm, RenormLimits, renorm_

FREE = RenormLimits(r_max=1e9, d_max=1e9, warmup=0, r_full=0, d_full=0)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1


def trained(norm: nn.Module, *shape: int) -> nn.Module:
    for seed in range(5):
        norm(seeded(*shape, seed=seed))
    with torch.no_grad():
        norm.weight.copy_(seeded(3, seed=8))
        norm.bias.copy_(seeded(3, seed=9))
    return norm


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 4), (4, 3, 5, 5)])
def test_while_warming_up_it_is_batchnorm_bit_for_bit(shape: tuple[int, ...]) -> None:
    renorm, plain = BatchRenorm(3).double(), (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3).double()
    a, b = seeded(*shape).requires_grad_(), seeded(*shape).requires_grad_()
    for _ in range(3):
        (renorm(a) ** 2).sum().backward()
        (plain(b) ** 2).sum().backward()
    assert torch.equal(a.grad, b.grad)
    assert all(map(torch.equal, renorm.buffers(), plain.buffers()))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(renorm.parameters(), plain.parameters(), strict=True))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), rows=st.integers(2, 9))
def test_where_nothing_is_clipped_training_gives_what_eval_gives(seed: int, rows: int) -> None:
    norm = trained(BatchRenorm(3, limits=FREE).double(), 8, 3)
    x = seeded(rows, 3, seed=seed)
    expected = copy.deepcopy(norm).eval()(x)
    torch.testing.assert_close(norm(x), expected)


def test_output_and_gradient_are_those_of_the_formula_with_r_and_d_constant() -> None:
    limits = RenormLimits(r_max=1.1, d_max=0.2, warmup=0, r_full=0, d_full=0)
    norm = trained(BatchRenorm(3, limits=limits).double(), 8, 3)
    x, y = (seeded(6, 3, seed=4).requires_grad_() for _ in range(2))
    std, mean = (y.var(0, correction=0) + norm.eps).sqrt(), y.mean(0)
    running_std = (norm.running_var + norm.eps).sqrt()
    r = (std / running_std).clamp(1 / 1.1, 1.1).detach()
    d = ((mean - norm.running_mean) / running_std).clamp(-0.2, 0.2).detach()
    assert (r == 1.1).any() or (r == 1 / 1.1).any()
    expected = ((y - mean) / std * r + d) * norm.weight + norm.bias
    direction = seeded(6, 3, seed=5)
    grads = torch.autograd.grad((expected * direction).sum(), [y, norm.weight, norm.bias])
    output = norm(x)
    torch.testing.assert_close(output, expected)
    found = torch.autograd.grad((output * direction).sum(), [x, norm.weight, norm.bias])
    for mine, theirs in zip(found, grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_running_statistics_and_eval_are_those_of_batchnorm() -> None:
    renorm, plain = trained(BatchRenorm(3, limits=FREE).double(), 8, 3), trained(nn.BatchNorm1d(3).double(), 8, 3)
    assert all(map(torch.equal, renorm.state_dict().values(), plain.state_dict().values()))
    assert torch.equal(renorm.eval()(seeded(4, 3)), plain.eval()(seeded(4, 3)))


def test_limits_grow_from_batchnorm_to_what_is_allowed() -> None:
    limits = RenormLimits(r_max=3, d_max=5, warmup=10, r_full=30, d_full=20)
    assert limits.at(0) == limits.at(10) == (1.0, 0.0)
    assert limits.at(20) == (2.0, 5.0)
    assert limits.at(30) == limits.at(10**9) == (3.0, 5.0)
    assert RenormLimits(warmup=7, r_full=7, d_full=7).at(7) == (3.0, 5.0)


@pytest.mark.parametrize("wrong", [{"r_max": 0.5}, {"d_max": -1}, {"warmup": 10, "r_full": 5}, {"r_max": float("nan")}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="r_max ≥ 1"):
        RenormLimits(**wrong)


def test_without_running_statistics_it_is_batchnorm() -> None:
    x = seeded(8, 3)
    norm = BatchRenorm(3, limits=FREE, track_running_stats=False).double()
    assert torch.equal(norm(x), nn.BatchNorm1d(3, track_running_stats=False).double()(x))


def test_halves_are_corrected_by_statistics_in_float32() -> None:
    norm = BatchRenorm(3, limits=FREE)
    for seed in range(3):
        norm(seeded(8, 3, seed=seed).bfloat16())
    x = seeded(8, 3, seed=7).bfloat16()
    expected = copy.deepcopy(norm).eval()(x)
    torch.testing.assert_close(norm(x), expected)


def test_a_model_is_converted_in_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SyncBatchNorm(4))
    edits = renorm_(model, limits=FREE)
    assert [edit.applied for edit in edits] == [True, False]
    assert isinstance(model[1], BatchRenorm)
    edits.undo()
    assert type(model[1]) is nn.BatchNorm2d
    assert not hasattr(model[1], "limits")

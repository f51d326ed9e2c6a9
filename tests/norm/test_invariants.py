"""What the papers say of BatchNorm, as numbers: two exact invariants, and figures small enough for a CPU."""

import math

import pytest
import torch
from torch import nn

from onesigma.norm import MaskedBatchNorm1d


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_norm(features: int) -> nn.BatchNorm1d:
    """With an eps that is nothing beside any variance here, so that invariants hold to rounding."""
    return nn.BatchNorm1d(features, eps=1e-30).double()


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0, 1000.0])
def test_the_scale_of_the_weights_before_a_norm_does_not_matter(scale: float) -> None:
    """BN((aW)u) = BN(Wu): Ioffe & Szegedy 2015, section 3.3."""
    u, weight = seeded(64, 10), seeded(7, 10, seed=1)
    torch.testing.assert_close(exact_norm(7)(u @ (scale * weight).mT), exact_norm(7)(u @ weight.mT))


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0, 1000.0])
def test_a_larger_weight_has_a_smaller_gradient(scale: float) -> None:
    """∂BN((aW)u)/∂(aW) = (1/a)·∂BN(Wu)/∂W, and ∂BN((aW)u)/∂u = ∂BN(Wu)/∂u: the same section."""
    direction = seeded(64, 7, seed=2)

    def gradients(weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
        u, weight = seeded(64, 10).requires_grad_(), weight.detach().requires_grad_()
        return torch.autograd.grad((exact_norm(7)(u @ weight.mT) * direction).sum(), (weight, u))

    weight = seeded(7, 10, seed=1)
    (of_weight, of_input), (of_scaled, of_input_scaled) = gradients(weight), gradients(scale * weight)
    torch.testing.assert_close(of_scaled, of_weight / scale)
    torch.testing.assert_close(of_input_scaled, of_input)


def test_so_weight_and_gradient_are_orthogonal_and_decay_only_sets_the_step() -> None:
    """Trap 23: a step against the gradient alone makes the weight longer; decay shortens it and moves no output."""
    u, weight = seeded(64, 10), seeded(7, 10, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad((exact_norm(7)(u @ weight.mT) * seeded(64, 7, seed=2)).sum(), weight)
    along = (gradient * weight).sum(1).abs()
    assert (along <= 1e-12 * gradient.norm(dim=1) * weight.norm(dim=1)).all()
    assert ((weight - 0.1 * gradient).norm(dim=1) > weight.norm(dim=1)).all()
    torch.testing.assert_close(exact_norm(7)(u @ (0.9 * weight).mT), exact_norm(7)(u @ weight.mT))


def test_a_bias_before_a_norm_has_no_effect() -> None:
    """Section 3.2: "its effect will be canceled by the subsequent mean subtraction"."""
    u, bias = seeded(64, 7), seeded(7, seed=1)
    torch.testing.assert_close(exact_norm(7)(u + bias), exact_norm(7)(u))


@pytest.mark.parametrize(("size", "ratio"), [(2, 0.707), (4, 0.866), (8, 0.935), (32, 0.984)])
def test_train_and_eval_differ_by_bessel(size: int, ratio: float) -> None:
    """Trap 2: the output uses n, running_var n − 1: eval is √((n − 1)/n) of training."""
    norm, x = nn.BatchNorm1d(5, momentum=1.0, eps=1e-30).double(), seeded(size, 5)
    trained = norm(x).detach()
    found = norm.eval()(x) / trained
    torch.testing.assert_close(found, torch.full_like(found, math.sqrt((size - 1) / size)))
    assert found.mean().item() == pytest.approx(ratio, abs=5e-4)  # as it is printed


def test_moments_of_a_relu_behind_a_norm() -> None:
    """Mean 1/√(2π) = 0.3989, second moment 1/2, variance 1/2 − 1/(2π) = 0.3408."""
    count = 200_000
    values = exact_norm(1)(seeded(count, 1)).relu()
    # Standard errors of a mean and of a mean of squares (E x⁴/2 − 1/4 = 5/4) over so many draws; five do not flake.
    assert values.mean().item() == pytest.approx(1 / math.sqrt(2 * math.pi), abs=5 * math.sqrt(0.3408 / count))
    assert values.square().mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(1.25 / count))
    assert 0.5 - 1 / (2 * math.pi) == pytest.approx(0.3408, abs=5e-4)


def test_the_masked_toy() -> None:
    """tensorflow #30161: over valid values mean 3 and variance 2, over all 1.5 and 3.25."""
    tokens = torch.tensor([[[1.0, 3.0, 5.0, 0.0]], [[3.0, 0.0, 0.0, 0.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    masked, plain = MaskedBatchNorm1d(1, momentum=1.0), nn.BatchNorm1d(1, momentum=1.0)
    masked(tokens, mask), plain(tokens)
    assert (masked.running_mean.item(), masked.running_var.item() * 3 / 4) == (3.0, pytest.approx(2.0, rel=1e-6))
    assert (plain.running_mean.item(), plain.running_var.item() * 7 / 8) == (1.5, pytest.approx(3.25, rel=1e-6))


def test_eps_takes_half_where_the_variance_is_eps() -> None:
    """Trap 3: the output's variance is var/(var + eps)."""
    x = exact_norm(3)(seeded(100, 3)).detach() * math.sqrt(1e-5)
    found = nn.BatchNorm1d(3, eps=1e-5).double()(x).var(0, correction=0)
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


def test_a_batch_of_two_says_only_which_is_larger() -> None:
    """Trap 5."""
    norm = nn.BatchNorm1d(1, eps=1e-30)
    for pair in ((0.0, 1.0), (0.0, 1000.0)):
        torch.testing.assert_close(norm(torch.tensor(pair)[:, None]).flatten(), torch.tensor([-1.0, 1.0]))

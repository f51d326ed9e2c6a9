"""Orthogonal fillers keep lengths, or variance where asked, and mirrored ones propagate f(x) − f(−x)."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from onesigma import init
from onesigma._errors import FanError
from onesigma.model.fan import fan

KEY = (0, "w")


def is_orthogonal(matrix: torch.Tensor, gain: float = 1.0) -> bool:
    """Rows or columns, whichever are fewer, are orthonormal up to the rounding of single precision."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(short @ short.T, torch.eye(len(short)) * gain**2, atol=1e-5, rtol=1e-5)
    return True


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60), (1, 5), (5, 1), (8, 4, 3, 3), (64, 2, 3)])
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_matrices_are_orthogonal_up_to_the_gain(shape: tuple[int, ...], gain: float) -> None:
    assert is_orthogonal(init.orthogonal_(torch.empty(shape), gain, key=KEY).flatten(1), gain)


def test_matrices_are_uniform_over_the_orthogonal_group() -> None:
    # Under the Haar measure √n times an entry is nearly normal, its square Beta(½, (n−1)/2), and signs are fair.
    size, count = 6, 1000
    drawn = torch.stack([init.orthogonal_(torch.empty(size, size), key=(number, "w")) for number in range(count)])
    for row, column in [(0, 0), (3, 2), (5, 5)]:
        entries = drawn[:, row, column].double()
        assert stats.kstest(entries.square().numpy(), stats.beta(0.5, (size - 1) / 2).cdf).pvalue > 1e-4
        assert abs((entries > 0).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(count)
    assert abs(torch.linalg.det(drawn).sign().mean().item()) < 5 / math.sqrt(count)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(64, 256),
        nn.Linear(256, 64),
        nn.Conv2d(4, 128, 3),
        nn.ConvTranspose2d(8, 32, 4, stride=2),
        nn.Conv2d(32, 32, 3, groups=32),
    ],
    ids=str,
)
def test_variance_is_kept_where_asked_also_when_expanding(layer: nn.Module) -> None:
    init.orthogonal_(layer, 1.3, keep_variance=True, key=KEY)
    rms = layer.weight.square().mean().sqrt().item()
    assert rms == pytest.approx(1.3 * fan(layer).fan_in ** -0.5, rel=1e-5)


def test_without_it_expanding_loses_variance_as_in_torch() -> None:
    weight = init.orthogonal_(torch.empty(256, 64), key=KEY)
    assert weight.square().sum(1).mean().item() == pytest.approx(0.25, rel=1e-5)


def test_delta_orthogonal_convolutions_are_isometries_at_every_pixel() -> None:
    layer = init.delta_orthogonal_(nn.Conv2d(8, 16, 3, padding=1, bias=False), key=KEY)
    x = torch.randn(4, 8, 7, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x).square().sum(1), x.square().sum(1), atol=1e-5, rtol=1e-4)
    wide = init.delta_orthogonal_(nn.Conv1d(8, 32, 5, padding=2, bias=False), keep_variance=True, key=KEY)
    line = torch.randn(4, 8, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(wide(line).square().mean(1), line.square().mean(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 4), (4,), (2, 2, 2, 2, 2, 2)])
def test_delta_orthogonal_wants_a_convolution(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3, 4, or 5"):
        init.delta_orthogonal_(torch.empty(shape))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Softplus()], ids=str)
@pytest.mark.parametrize("depth", [20, 100])
def test_a_mirrored_stack_is_an_isometry_at_any_depth(activation: nn.Module, depth: int) -> None:
    width = 32
    layers: list[nn.Module] = []
    for number in range(depth):
        layer = nn.Linear(10 if number == 0 else width, width, bias=False).double()
        position = "first" if number == 0 else "hidden"
        layers += [init.mirrored_(layer, position=position, key=(0, str(number))), activation]
    head = init.mirrored_(nn.Linear(width, width // 2, bias=False).double(), position="last", key=(0, "head"))
    x = torch.randn(16, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = nn.Sequential(*layers, head)(x)
    # The hidden blocks are 16 × 16 and the first 16 × 10, so lengths are kept; rounding adds up over the depth.
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1), rtol=1e-10, atol=0)


def test_mirrored_blocks_are_orthogonal_and_scaled_by_the_gain() -> None:
    weight = init.mirrored_(torch.empty(8, 6), 2.0, key=KEY)
    assert is_orthogonal(weight[:4, :3], 2.0)
    assert weight[4:].equal(-weight[:4])
    assert weight[:, 3:].equal(-weight[:, :3])
    conv = init.mirrored_(torch.empty(8, 6, 3), key=KEY)
    assert is_orthogonal(conv[:4, :3, 1])
    assert conv[..., [0, 2]].eq(0).all()


@pytest.mark.parametrize(
    ("shape", "position"), [((5, 4), "hidden"), ((4, 5), "hidden"), ((5, 4), "first"), ((4, 5), "last"), ((4,), "last")]
)
def test_mirrored_axes_must_be_even(shape: tuple[int, ...], position: str) -> None:
    with pytest.raises(FanError, match="even"):
        init.mirrored_(torch.empty(shape), position=position)  # type: ignore[arg-type]


def test_mirrored_odd_sizes_that_are_not_mirrored_are_fine() -> None:
    assert init.mirrored_(torch.empty(4, 5), position="first", key=KEY).isfinite().all()
    assert init.mirrored_(torch.empty(5, 4), position="last", key=KEY).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_rounded_from_double_precision(dtype: torch.dtype) -> None:
    exact = init.orthogonal_(torch.empty(32, 16, dtype=torch.float64), key=KEY)
    assert init.orthogonal_(torch.empty(32, 16, dtype=dtype), key=KEY).equal(exact.to(dtype))

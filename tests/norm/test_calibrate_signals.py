"""Whatever a layer is fed with is counted by its values: padding, rows and sequences, halves, large images."""

import copy

import pytest
import torch
from torch import nn

from onesigma.norm import MaskedBatchNorm1d, calibrate_


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm1d(1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.norm(tokens, mask)


def test_padding_counts_for_nothing() -> None:
    """The toy of tensorflow #30161: mean 3 and variance 2 over what is valid, 1.5 and 3.25 over all."""
    model = Padded()
    tokens = torch.tensor([[[1.0, 3.0, 5.0, 0.0]], [[3.0, 0.0, 0.0, 0.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    parts = [{"tokens": tokens[i : i + 1], "mask": mask[i : i + 1]} for i in range(2)]
    calibrate_(model, parts)
    assert model.norm.running_mean.item() == 3.0
    assert model.norm.running_var.item() * 3 / 4 == pytest.approx(2.0, rel=1e-6)


def test_rows_and_sequences_of_one_layer_are_counted_together() -> None:
    """As where some masks are full, or a layer is used twice: the one calls with (N, C), the other with (N, C, L)."""
    norm, rows, sequences = nn.BatchNorm1d(3), seeded(5, 3) + 4, 2 * seeded(4, 3, 6, seed=1)
    expected = torch.cat([rows, sequences.movedim(1, -1).flatten(0, 1)]).double()
    for order in ([rows, sequences], [sequences, rows], [rows[:2], sequences, rows[2:]]):
        calibrate_(norm, order)
        torch.testing.assert_close(norm.running_mean, expected.mean(0).float())
        torch.testing.assert_close(norm.running_var, expected.var(0).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_statistics_of_half_precision_are_summed_exactly_and_rounded_once(dtype: torch.dtype) -> None:
    """A running sum in bfloat16 stops growing at 256 of its terms."""
    model, x = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).to(dtype), (seeded(3000, 5) + 2).to(dtype)
    calibrate_(model, list(x.split(100)))
    signal = torch.cat([model[0](part) for part in x.split(100)]).detach().double()
    assert torch.equal(model[1].running_mean, signal.mean(0).to(dtype))
    assert torch.equal(model[1].running_var, signal.var(0).to(dtype))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_images_in_any_memory_format(memory_format: torch.memory_format) -> None:
    """Large enough that their statistics are not only kept but used to normalize."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    x = (5 * seeded(4, 3, 40, 40) + 100).to(memory_format=memory_format)
    wide = copy.deepcopy(model).double()  # torch's own float32 statistics lose digits in this format
    wide[0].momentum = wide[2].momentum = 1.0
    wide(x.double())
    calibrate_(model, x)
    for own, other in zip(model.buffers(), wide.buffers(), strict=True):
        torch.testing.assert_close(own, other.to(own.dtype))

"""Ghost batches change the noise of training, and nothing of what is kept for eval."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma.norm import BatchNormLast, GhostBatchNorm, ghost_


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2 + 5


@pytest.mark.parametrize("shape", [(23, 3), (23, 3, 4), (23, 3, 4, 5), (23, 3, 2, 2, 2)])
def test_each_part_is_normalized_by_itself_forward_and_backward(shape: tuple[int, ...]) -> None:
    norm, x = GhostBatchNorm(3, ghost_size=5), seeded(*shape)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    output = norm(mine)
    parts = theirs.tensor_split([6, 12, 18])  # 23 = 6 + 6 + 6 + 5
    expected = torch.cat([F.batch_norm(part, None, None, norm.weight, norm.bias, training=True) for part in parts])
    assert torch.equal(output, expected)
    (output**3).sum().backward()
    (expected**3).sum().backward()
    assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 64])
def test_running_statistics_are_those_of_batchnorm_bit_for_bit(size: int, momentum: float | None) -> None:
    ghost, plain = GhostBatchNorm(3, ghost_size=size, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    for seed in range(3):
        x = seeded(17, 3, 4, 4, seed=seed)
        ghost(x)
        plain(x)
    assert all(map(torch.equal, ghost.buffers(), plain.buffers()))
    assert torch.equal(ghost.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("rows", [2, 3, 8, 9, 15])
def test_a_batch_of_less_than_two_parts_is_a_batch(rows: int) -> None:
    x = seeded(rows, 3)
    assert torch.equal(GhostBatchNorm(3, ghost_size=8)(x), nn.BatchNorm1d(3)(x))


@pytest.mark.parametrize("rows", range(16, 41))
def test_no_part_is_smaller_than_asked_for(rows: int) -> None:
    x = seeded(rows, 1)
    output = GhostBatchNorm(1, ghost_size=8, affine=False)(x).flatten()
    # Each part has mean zero, so the running sum of the outputs returns to zero after each.
    ends = [i + 1 for i, total in enumerate(output.double().cumsum(0).tolist()) if abs(total) < 1e-4]
    sizes = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == rows
    assert min(sizes) >= 8


def test_a_model_is_converted_and_back_and_its_optimizer_stays_valid() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before, parameters = copy.deepcopy(model), list(model.parameters())
    edits = ghost_(model, size=4)
    assert isinstance(model[1], nn.BatchNorm1d)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == list(before.state_dict())
    torch.testing.assert_close(model(seeded(12, 4))[:4], before(seeded(12, 4)[:4]))
    edits.undo()
    assert type(model[1]) is nn.BatchNorm1d
    assert model[1].__dict__.keys() == before[1].__dict__.keys()


def test_a_part_of_one_value_per_channel_is_an_error_as_in_batchnorm() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        GhostBatchNorm(3, ghost_size=1)(seeded(4, 3))


def test_rows_that_are_no_samples_are_refused() -> None:
    with pytest.warns(NoEffectWarning, match="positions of a sequence"):
        assert not ghost_(BatchNormLast(3)).applied


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_size_that_is_no_count_is_refused(size: object) -> None:
    with pytest.raises(ConfigError, match="positive whole number"):
        ghost_(nn.BatchNorm1d(3), size=size)


def test_channels_last_memory_stays() -> None:
    x = seeded(16, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert GhostBatchNorm(3, ghost_size=4)(x).is_contiguous(memory_format=torch.channels_last)

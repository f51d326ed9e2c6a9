"""One of two ranks, run by test_sync: every claim is checked against plain BatchNorm on the joined batch."""

import copy
import sys

import torch
import torch.distributed as dist
from torch import nn

from onesigma.norm import MaskedBatchNorm1d, SyncBatchNorm, calibrate_, synchronize_


def seeded(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summed(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone()
    dist.all_reduce(tensor)
    return tensor


def check_against_joined(rank: int, sizes: tuple[int, int], shape: tuple[int, ...], momentum: float | None) -> None:
    single = nn.BatchNorm1d(3, momentum=momentum).double() if len(shape) < 2 else nn.BatchNorm2d(3).double()
    with torch.no_grad():
        single.weight.copy_(seeded(3, seed=1))
        single.bias.copy_(seeded(3, seed=2))
    sync = copy.deepcopy(single)
    synchronize_(sync)
    for step in range(2):
        parts = [7 * seeded(size, 3, *shape, seed=10 * step + r) + 100 * r for r, size in enumerate(sizes)]
        joined = torch.cat(parts).requires_grad_()
        own = parts[rank].clone().requires_grad_()
        directions = seeded(*joined.shape, seed=5)
        expected, output = single(joined), sync(own)
        first = sum(sizes[:rank])
        torch.testing.assert_close(output, expected[first : first + sizes[rank]])
        (expected * directions).sum().backward()
        (output * directions[first : first + sizes[rank]]).sum().backward()
        torch.testing.assert_close(own.grad, joined.grad[first : first + sizes[rank]], rtol=1e-7, atol=1e-9)
        for key, value in single.state_dict().items():
            torch.testing.assert_close(sync.state_dict()[key], value)
    for mine, theirs in zip(sync.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(summed(mine.grad), theirs.grad)


def check_layouts(rank: int) -> None:
    """Ranks agree on the batch also where one of them goes another way through its memory."""
    norm, parts = SyncBatchNorm(3).double(), [seeded(2, 3, 4, 5, seed=seed) for seed in range(2)]
    own = parts[rank].to(memory_format=torch.channels_last if rank else torch.contiguous_format)
    torch.testing.assert_close(norm(own), nn.BatchNorm2d(3).double()(torch.cat(parts))[2 * rank : 2 * rank + 2])


def check_large_mean(rank: int) -> None:
    """A mean of 10⁴ stds costs a float32 input no digit, neither forward nor backward."""
    parts = [(seeded(4, 3, 8, 8, seed=seed) + 10_000).float() for seed in range(2)]
    joined, own = torch.cat(parts).double().requires_grad_(), parts[rank].clone().requires_grad_()
    directions, mine = seeded(8, 3, 8, 8, seed=2), slice(4 * rank, 4 * rank + 4)
    expected, output = nn.BatchNorm2d(3).double()(joined), SyncBatchNorm(3)(own)
    torch.testing.assert_close(output.double(), expected[mine], rtol=0, atol=1e-5)
    expected.backward(directions)
    output.backward(directions[mine].float())
    torch.testing.assert_close(own.grad.double(), joined.grad[mine], rtol=0, atol=1e-5)


def check_masked(rank: int) -> None:
    norm = MaskedBatchNorm1d(1, momentum=1.0)
    synchronize_(norm)
    x = [torch.tensor([[[1.0, 3.0, 5.0, 99.0]]]), torch.tensor([[[3.0, 99.0, 99.0, 99.0]]])]
    mask = [torch.tensor([[1, 1, 1, 0]]), torch.tensor([[1, 0, 0, 0]])]
    norm(x[rank], mask[rank])
    assert norm.running_mean.item() == 3.0
    assert abs(norm.running_var.item() * 3 / 4 - 2.0) < 1e-6


def check_calibration(rank: int) -> None:
    parts = [seeded(5, 3, seed=1).float(), 3 * seeded(9, 3, seed=2).float() + 4]
    norm, single = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    calibrate_(norm, parts[rank], group=dist.group.WORLD)
    calibrate_(single, torch.cat(parts))
    assert torch.equal(norm.running_mean, single.running_mean)
    assert torch.equal(norm.running_var, single.running_var)


def check_failure(rank: int) -> None:
    norm = nn.BatchNorm1d(3)
    try:
        calibrate_(norm, seeded(5, 3 + rank, seed=1).float(), group=dist.group.WORLD)
    except RuntimeError:
        assert norm.running_mean.tolist() == [0.0, 0.0, 0.0]
    else:
        raise AssertionError("a rank that fails must stop all")


def main(rank: int, rendezvous: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for momentum in (0.1, None):
        for sizes in ((4, 4), (6, 2), (5, 0), (1, 1)):
            check_against_joined(rank, sizes, (), momentum)
    for positions in ((4, 5), (2, 3)):
        for sizes in ((3, 2), (4, 0), (0, 4)):
            check_against_joined(rank, sizes, positions, 0.1)
    check_layouts(rank)
    check_large_mean(rank)
    check_masked(rank)
    check_calibration(rank)
    check_failure(rank)
    assert SyncBatchNorm(3).eval()(torch.zeros(2, 3)).shape == (2, 3)
    dist.destroy_process_group()
    sys.stdout.write("all claims hold\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""One of two ranks, run by test_calibrate_ranks: what both find is what one finds on all of the data."""

import copy
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from onesigma._errors import BatchError
from onesigma.norm import calibrate_


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.BatchNorm1d(3))


def data(size: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(size, 5, generator=torch.Generator().manual_seed(seed)) + 10 * seed


def same_bits(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, one.buffers(), other.buffers()))


def gathered(net: nn.Module) -> list[dict[str, torch.Tensor]]:
    states: list[dict[str, torch.Tensor] | None] = [None, None]
    dist.all_gather_object(states, net.state_dict())
    return [state for state in states if state is not None]


def check_uneven_ranks(rank: int, order: str) -> None:
    """Three batches here and one of another size and another mean there."""
    parts = [[data(7, 1), data(7, 2), data(3, 3)], [data(40, 0)]]
    net, single = model(), model()
    calibrate_(net, parts[rank], order=order, group=dist.group.WORLD)
    calibrate_(single, [*parts[0], *parts[1]], order=order)
    assert same_bits(net, single)
    mine, theirs = gathered(net)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def check_a_rank_without_data(rank: int, order: str) -> None:
    net, single = model(), model()
    edits = calibrate_(net, [[data(20, 1)], []][rank], order=order, group=dist.group.WORLD)
    calibrate_(single, data(20, 1), order=order)
    assert len(edits.applied) == 2
    assert same_bits(net, single)
    with pytest.raises(BatchError, match="every rank"):
        calibrate_(net, [], group=dist.group.WORLD)


def check_ranks_that_drifted_apart(rank: int) -> None:
    """DDP broadcasts the statistics of rank 0 before a forward pass, not after: the ranks' differ after the last."""
    net = nn.parallel.DistributedDataParallel(model())
    for step in range(5):
        net(data(16, 3 * rank) + step).sum().backward()
    mine, theirs = gathered(net.module)
    assert not torch.equal(mine["1.running_mean"], theirs["1.running_mean"])
    calibrate_(net, data(16, 3 * rank), group=dist.group.WORLD)
    single = copy.deepcopy(net.module)
    calibrate_(single, [data(16, 0), data(16, 3)])
    mine, theirs = gathered(net.module)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert same_bits(net.module, single)


def check_tolerance(rank: int) -> None:
    """Both ranks together have enough: each stops at its share."""
    net = model()
    edits = calibrate_(net, [data(10, seed) for seed in range(50)], tolerance=0.1, group=dist.group.WORLD)
    assert edits[0].reason.startswith("10 batches, 100 values")


def main(rank: int, rendezvous: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for order in ("one_pass", "layer_by_layer"):
        check_uneven_ranks(rank, order)
        check_a_rank_without_data(rank, order)
    check_ranks_that_drifted_apart(rank)
    check_tolerance(rank)
    dist.destroy_process_group()
    sys.stdout.write("all claims hold\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

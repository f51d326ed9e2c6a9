"""A training step of MaskedBatchNorm1d and SyncBatchNorm against that of nn.BatchNorm on the same tensor.

CPU time of one thread, forward and backward, in turn. The two gloo ranks are timed by the wall, too, since they wait
for one another; each has half of the batch, and so has the nn.BatchNorm beside it.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from onesigma.norm import MaskedBatchNorm1d, SyncBatchNorm

__all__ = ["main"]

MOST_RATIO = 1.3
REPEATS = 15
SEQUENCES = [(32, 64, 128), (64, 256, 100), (16, 512, 256)]
ROWS = [(512, 64), (256, 1024), (4096, 256)]
IMAGES = [(32, 64, 56, 56), (32, 256, 14, 14)]


def main() -> None:
    """Print ratios; those of one process are held to their bar."""
    torch.set_num_threads(1)
    ratios = {}
    print(f"{'layer':<44}{'shape':<20}  ratio to nn.BatchNorm")
    for shape in (*SEQUENCES, *ROWS):
        for name, mask in masks(shape).items():
            masked = step(MaskedBatchNorm1d(shape[1]), shape, mask)
            ratios[name, shape] = ratio(step(nn.BatchNorm1d(shape[1]), shape), masked)
            print(f"{'MaskedBatchNorm1d, ' + name:<44}{shape!s:<20}  {ratios[name, shape]:.2f}", flush=True)
    for shape in IMAGES:
        sync = step(SyncBatchNorm(shape[1]), shape)
        ratios["sync", shape] = ratio(step(nn.BatchNorm2d(shape[1]), shape), sync)
        print(f"{'SyncBatchNorm, one process':<44}{shape!s:<20}  {ratios['sync', shape]:.2f}", flush=True)
    two_ranks()
    missed = {key: round(value, 2) for key, value in ratios.items() if value > MOST_RATIO}
    assert not missed, f"more than {MOST_RATIO} × nn.BatchNorm: {missed}"


def masks(shape: tuple[int, ...]) -> dict[str, Tensor | None]:
    """None, all valid, and lengths or rows that leave nine tenths and half of the positions."""
    if len(shape) == 2:
        rows = torch.arange(shape[0])
        return {"nine tenths valid": rows % 10 != 0, "half valid": rows % 2 == 0}
    positions, ramp = torch.arange(shape[2])[None], torch.linspace(0, 1, shape[0])[:, None]
    tenths = {"nine tenths valid": positions < (0.8 + 0.2 * ramp) * shape[2], "half valid": positions < ramp * shape[2]}
    return {"no mask": None, "all valid": torch.ones(shape[0], shape[2], dtype=torch.bool), **tenths}


def step(norm: nn.Module, shape: tuple[int, ...], mask: Tensor | None = None) -> Callable[[], None]:
    """Forward and backward of one batch."""
    x, gradient = torch.randn(shape, requires_grad=True), torch.randn(shape)
    inputs = (x,) if mask is None else (x, mask)

    def run() -> None:
        x.grad = None
        norm(*inputs).backward(gradient)

    return run


def ratio(
    plain: Callable[[], None], other: Callable[[], None], *, clock: Callable[[], float] = time.process_time
) -> float:
    """Lower quartile of seconds of the one over that of the other, taken in turn so that a busy moment meets both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in (plain, other):
        run()
    for _ in range(REPEATS):
        for run, times in zip((plain, other), seconds, strict=True):
            start = clock()
            run()
            times.append(clock() - start)
    first, second = (statistics.quantiles(times, n=4)[0] for times in seconds)
    return second / first


def two_ranks() -> None:
    """Two gloo processes on this machine, each with half of the batch."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [context.Process(target=_rank, args=(rank, f"{folder}/rendezvous")) for rank in range(2)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()


def _rank(rank: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    for shape in IMAGES:
        half = (shape[0] // 2, *shape[1:])
        for name, clock in (("CPU", time.process_time), ("wall", time.perf_counter)):
            found = ratio(step(nn.BatchNorm2d(shape[1]), half), step(SyncBatchNorm(shape[1]), half), clock=clock)
            if rank == 0:
                print(f"{f'SyncBatchNorm, two gloo ranks, {name} time':<44}{half!s:<20}  {found:.2f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

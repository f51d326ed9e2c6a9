"""One of several gloo ranks, run by test_ranks: every claim is checked against one process on the joined batch."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import onesigma
from onesigma.inputs.scan import scan
from onesigma.inputs.sources import open_source
from onesigma.model.names import tensor_names, unwrapped
from onesigma.model.state import fingerprint
from tests.engines.cases import REAL, hostile_table, local_bytes

ROWS = 40
SIZES = {1: [(40,)], 2: [(20, 20), (33, 7), (40, 0)], 4: [(10, 10, 10, 10), (0, 25, 0, 15)]}


def seeded(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.25), nn.Linear(16, 4))


def sharded() -> nn.Module:
    model = net()
    fully_shard(model[0])
    return fully_shard(model)


def tensor_parallel() -> nn.Module:
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    return parallelize_module(net(), mesh, {"0": ColwiseParallel(), "4": RowwiseParallel()})


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": net,
    "DDP": lambda: DistributedDataParallel(net()),
    "FSDP2": sharded,
    "DTensor": tensor_parallel,
}


VERBS = (onesigma.measure, onesigma.check, onesigma.initialize_, onesigma.norm.calibrate_)


def whole(model: nn.Module) -> dict[str, torch.Tensor]:
    tensors = tensor_names(unwrapped(model))
    return {name: value.full_tensor() if hasattr(value, "full_tensor") else value for name, value in tensors.items()}


def part_of(table: torch.Tensor, sizes: tuple[int, ...], rank: int) -> torch.Tensor:
    start = sum(sizes[:rank])
    return table[start : start + sizes[rank]]


def check_verbs(name: str, sizes: tuple[int, ...], rank: int) -> None:
    """Measure, check, initialize_ and calibrate_ equal those of one process on the joined batch, bit for bit."""
    x, y = seeded(ROWS, 8, seed=1), torch.arange(ROWS) % 4
    mine = (part_of(x, sizes, rank), part_of(y, sizes, rank))
    single, model = net(), MODELS[name]()
    torch.manual_seed(7)
    expected = onesigma.measure(single, (x, y), loss="cross_entropy")
    torch.manual_seed(7 if rank == 0 else rank + 100)
    # The mark of FSDP2's lazy start is no trace of ours: compare values.
    before = {key: value.clone() for key, value in whole(model).items()}
    trace = onesigma.on_ranks(onesigma.measure, model, mine, loss="cross_entropy")
    assert trace == expected, name
    torch.manual_seed(7)
    report = onesigma.check(single, (x, y), loss="cross_entropy")
    torch.manual_seed(7)
    found = onesigma.on_ranks(onesigma.check, model, mine, loss="cross_entropy")
    assert found.findings == report.findings
    assert all(torch.equal(value, before[key]) for key, value in whole(model).items())

    torch.manual_seed(7)
    onesigma.initialize_(single, x, seed=3)
    torch.manual_seed(7)
    edits = onesigma.on_ranks(onesigma.initialize_, model, mine[0], seed=3)
    assert len(edits.applied) == 2
    for key, value in whole(model).items():
        assert torch.equal(value, tensor_names(single)[key]), (name, key)
    onesigma.norm.calibrate_(single, x)
    onesigma.on_ranks(onesigma.norm.calibrate_, model, mine[0])
    for key, value in whole(model).items():
        assert torch.equal(value, tensor_names(single)[key]), (name, key)
    edits.undo()
    restored = whole(model)
    assert all(torch.equal(restored[key], before[key]) for key in ("0.weight", "4.weight"))


def check_standardize(sizes: tuple[int, ...], rank: int) -> None:
    table = np.random.default_rng(0).normal(1e8, 1.0, (ROWS, 3))
    start = sum(sizes[:rank])
    scaler = onesigma.standardize(table[start : start + sizes[rank]], engine="ranks")
    assert scaler.columns_.to_bytes() == scan(open_source(table)).to_bytes()


def check_tables(rank: int) -> None:
    """On the real files and on hostile columns, ranks that differ in rows end with the bytes of the local pass."""
    tables = {name: table_of(path) for name, path in REAL.items() if path.exists()} | {"hostile": hostile_table()}
    for name, table in tables.items():
        cuts = [table.num_rows * step * step // dist.get_world_size() ** 2 for step in (rank, rank + 1)]
        mine = table.slice(cuts[0], cuts[1] - cuts[0]) if rank else table.slice(0, 0)  # the first has no rows
        first = table.slice(0, table.num_rows // dist.get_world_size() ** 2)
        last = [mine, first] if rank == dist.get_world_size() - 1 else [mine]
        scaler = onesigma.standardize(pa.concat_tables(last), engine="ranks", nonfinite="ignore")
        assert scaler.columns_.to_bytes() == local_bytes(table), name
        assert scaler.columns_.to_bytes() == local_bytes(REAL.get(name, table)), name


def table_of(path: Path) -> pa.Table:
    return pa.Table.from_batches(list(open_source(path).blocks()))


def batches_that_fail(rank: int) -> Iterator[torch.Tensor]:
    if rank == dist.get_world_size() - 1:
        raise OSError("the disk is gone")
    yield seeded(4, 8, seed=1)


def raised_by(function: Callable[[], object]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("a rank that fails must stop all")


def check_failures(rank: int) -> None:
    last = dist.get_world_size() - 1
    for name, verb in ((name, verb) for name in MODELS for verb in VERBS):
        model = MODELS[name]()
        before = {key: value.clone() for key, value in whole(model).items()}
        marks = fingerprint(model) if name == "plain" else None
        error = raised_by(partial(onesigma.on_ranks, verb, model, batches_that_fail(rank)))
        assert isinstance(error, OSError if rank == last else onesigma.EngineError), (name, verb, error)
        if rank != last:
            assert f"rank {last} raised OSError: the disk is gone; nothing was changed" in str(error)
        assert all(torch.equal(value, before[key]) for key, value in whole(model).items()), (name, verb)
        assert name != "plain" or fingerprint(model) == marks
    missing = "no/such/file.csv" if rank == last else np.ones((2, 2))
    error = raised_by(lambda: onesigma.standardize(missing, engine="ranks"))
    assert isinstance(error, onesigma.SourceError if rank == last else onesigma.EngineError)
    if last:
        other = {"x": [1.0]} if rank == last else {"y": [1.0]}
        error = raised_by(lambda: onesigma.standardize(other, engine="ranks"))
        assert isinstance(error, onesigma.SourceError)


def check_time_out(rank: int) -> None:
    """A rank that does not come stops the others when the time is up."""
    if rank:
        time.sleep(8)
        return
    began = time.monotonic()
    error = raised_by(lambda: onesigma.standardize([[1.0]], engine="ranks"))
    assert isinstance(error, onesigma.EngineError)
    assert "Ranks did not meet" in str(error)
    assert time.monotonic() - began < 60


def batches_that_hang(rank: int, *, until: Path) -> Iterator[torch.Tensor]:
    while rank and not until.exists():
        time.sleep(0.05)
    yield seeded(4, 8, seed=1)


def check_hangs(rank: int, folder: Path) -> None:
    """A rank whose data hang makes all raise when the time of the group is up, and leaves every model as it was."""
    cases = [("plain", verb) for verb in VERBS] + [("FSDP2", onesigma.measure), ("DDP", onesigma.initialize_)]
    groups = [dist.new_group(timeout=timedelta(seconds=1)) for _ in cases]
    for index, ((name, verb), group) in enumerate(zip(cases, groups, strict=True)):
        model, raised = MODELS[name](), folder / f"raised-{index}"
        before = {key: value.clone() for key, value in whole(model).items()}
        batches = batches_that_hang(rank, until=raised)
        error = raised_by(partial(onesigma.on_ranks, verb, model, batches, group=group))
        raised.touch()
        assert isinstance(error, onesigma.EngineError), (name, verb, error)
        assert "Ranks did not meet" in str(error)
        dist.barrier()
        assert all(torch.equal(value, before[key]) for key, value in whole(model).items()), (name, verb)


def main(rank: int, world: int, rendezvous: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world, timeout=timedelta(seconds=120)
    )
    torch.set_num_threads(1)
    for sizes in SIZES[world]:
        check_standardize(sizes, rank)
        for name in MODELS if sizes is SIZES[world][0] else ("FSDP2",):
            check_verbs(name, sizes, rank)
    check_tables(rank)
    check_failures(rank)
    if world == 2:
        check_hangs(rank, Path(rendezvous).parent)
    dist.destroy_process_group()
    if world == 2:
        dist.init_process_group(
            "gloo", init_method=f"file://{rendezvous}-2", rank=rank, world_size=world, timeout=timedelta(seconds=4)
        )
        check_time_out(rank)
    sys.stdout.write("all claims hold\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

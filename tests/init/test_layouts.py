"""No layout changes a value: shards, replicas, process counts, orders, subsets, meta tensors."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, zeros

from onesigma import init
from onesigma._errors import ModelError

SHAPE = (13, 6, 3)
FILLERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "normal": lambda t: init.normal_(t, std=0.02, key=(0, "w")),
    "uniform": lambda t: init.uniform_(t, -1, 1, key=(0, "w")),
    "truncated": lambda t: init.trunc_normal_(t, key=(0, "w")),
    "kaiming": lambda t: init.kaiming_normal_(t, key=(0, "w")),
    "xavier": lambda t: init.xavier_uniform_(t, key=(0, "w")),
    "orthogonal": lambda t: init.orthogonal_(t, key=(0, "w")),
    "delta orthogonal": lambda t: init.delta_orthogonal_(t, key=(0, "w")),
    "dirac": init.dirac_,
    "constant": lambda t: init.constant_(t, 0.5),
    "generator": lambda t: init.normal_(t, generator=torch.Generator().manual_seed(7)),
}


def network() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 5))


def fill(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        init.normal_(parameter, key=(3, name))


def in_process(rank: int, world: int, port: int, folder: str) -> None:
    """Every layout of one process count; rank 0 keeps the full tensors."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world, timeout=timedelta(seconds=60))
    try:
        found = sharded_tensors(world) | sharded_model(world) | generator_of_each_rank(rank, world)
        if rank == 0:
            torch.save(found, Path(folder) / "found.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def sharded_tensors(world: int) -> dict[str, torch.Tensor]:
    mesh = init_device_mesh("cpu", (world,))
    layouts = {"Shard(0)": [Shard(0)], "Shard(1)": [Shard(1)], "Shard(-1)": [Shard(2)], "Replicate": [Replicate()]}
    meshes = dict.fromkeys(layouts, mesh)
    if world == 4:
        square = init_device_mesh("cpu", (2, 2))
        pairs = {"Shard(0), Shard(1)": [Shard(0), Shard(1)], "Shard(1), Shard(1)": [Shard(1), Shard(1)]}
        layouts |= pairs
        meshes |= dict.fromkeys(pairs, square)
    found = {}
    for layout, placements in layouts.items():
        for name, filler in FILLERS.items():
            tensor = zeros(*SHAPE, device_mesh=meshes[layout], placements=placements)
            held = tensor.to_local().numel()
            filler(tensor)
            assert tensor.to_local().numel() == held
            found[f"{layout} {name}"] = tensor.full_tensor()
    return found


def sharded_model(world: int) -> dict[str, torch.Tensor]:
    """FSDP2: shard on meta, materialize, fill."""
    model = network()
    for layer in model:
        fully_shard(layer, mesh=init_device_mesh("cpu", (world,)))
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    model.to_empty(device="cpu")
    fill(model)
    return {f"fsdp {name}": parameter.full_tensor() for name, parameter in model.named_parameters()}


def generator_of_each_rank(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Ranks whose generators differ still agree on the tensor: replicas must not drift apart."""
    mesh = init_device_mesh("cpu", (world,))
    tensor = zeros(*SHAPE, device_mesh=mesh, placements=[Replicate()])
    init.normal_(tensor, generator=torch.Generator().manual_seed(7 + rank))
    local = tensor.to_local().clone()
    dist.broadcast(local, src=0)
    assert local.equal(tensor.to_local())
    partial = DTensor.from_local(torch.zeros(3), mesh, [Partial()])
    with pytest.raises(ModelError, match="partial"):
        init.normal_(partial, key=(0, "w"))
    return {"Replicate generator of each rank": local}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def on_processes(world: int, folder: Path) -> dict[str, torch.Tensor]:
    """Run this file once per rank, and collect what rank 0 kept."""
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(world), str(port), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0] * world, "\n".join(errors)
    return dict(torch.load(folder / "found.pt"))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_shards_and_replicas_on_any_number_of_processes_hold_what_one_process_draws(world: int, tmp_path: Path) -> None:
    found = on_processes(world, tmp_path)
    for name, filler in FILLERS.items():
        whole = filler(torch.empty(SHAPE))
        same = {layout for layout in found if layout.endswith(f") {name}") or layout == f"Replicate {name}"}
        assert len(same) >= 4
        assert [layout for layout in same if not found[layout].equal(whole)] == []
    model = network().to_empty(device="cpu")
    fill(model)
    for name, parameter in model.named_parameters():
        assert found[f"fsdp {name}"].equal(parameter)


def test_order_subset_and_new_layers_do_not_change_the_others() -> None:
    model, larger = network().to_empty(device="cpu"), network().to_empty(device="cpu")
    fill(model)
    larger.append(nn.Linear(5, 5))
    for name, parameter in reversed(list(larger.named_parameters())):
        if name != "0.bias":
            init.normal_(parameter, key=(3, name))
    for name, parameter in model.named_parameters():
        if name != "0.bias":
            assert parameter.equal(larger.get_parameter(name))


def test_meta_tensors_are_left_alone_and_materialized_ones_get_their_values() -> None:
    model = network()
    fill(model)
    assert all(parameter.is_meta for parameter in model.parameters())
    model.to_empty(device="cpu")
    fill(model)
    assert model[0].weight.equal(init.normal_(torch.empty(7, 10), key=(3, "0.weight")))


def test_a_wrapped_model_draws_what_the_bare_one_draws() -> None:
    model = network().to_empty(device="cpu")
    fill(model)
    expected = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for wrapped in (nn.DataParallel(model), torch.compile(model)):
        for parameter in wrapped.parameters():
            parameter.data.zero_()
        fill(wrapped)
        for name, parameter in model.named_parameters():
            assert parameter.equal(expected[name])


if __name__ == "__main__":
    in_process(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])

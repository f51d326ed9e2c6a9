"""One rank of test_initialize: a transformer and a convolutional network under DDP and FSDP2."""

import sys
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import onesigma
from onesigma.model.names import canonical_name

ROWS, FIRST = 12, 7


class Transformer(nn.Module):
    """Two pre-norm layers between an embedding and a head, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True) for _ in range(2))
        self.embed, self.layers, self.head = nn.Embedding(50, 32), nn.ModuleList(layers), nn.Linear(32, 50)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 2, 2), nn.Flatten(), nn.Linear(8 * 6 * 6, 5),
    )  # fmt: skip


def sharded(model: nn.Module) -> nn.Module:
    for part in model.children():
        fully_shard(part) if not isinstance(part, nn.ModuleList) else [fully_shard(layer) for layer in part]
    return fully_shard(model)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


def whole(model: nn.Module) -> Mapping[str, torch.Tensor]:
    return {
        canonical_name(name): weight.full_tensor() if hasattr(weight, "full_tensor") else weight.detach()
        for name, weight in model.named_parameters()
    }


def main(rank: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    noise = torch.Generator().manual_seed(1)
    cases = [
        (Transformer, torch.randint(0, 50, (ROWS, 10), generator=noise)),
        (convolutional, torch.randn(ROWS, 3, 8, 8, generator=noise)),
    ]
    for build, x in cases:
        for wrap in (DistributedDataParallel, sharded):
            for scheme in ("unit", "deep"):
                single, model = seeded(build), wrap(seeded(build))
                before = {name: value.clone() for name, value in whole(model).items()}
                torch.manual_seed(7)
                onesigma.initialize_(single, x, scheme=scheme, seed=3)
                torch.manual_seed(7 + rank)  # The random state of rank 0 goes for all.
                edits = onesigma.initialize_(model, x[:FIRST] if rank == 0 else x[FIRST:], scheme=scheme, seed=3)
                assert edits.applied
                assert all(torch.equal(value, whole(single)[name]) for name, value in whole(model).items()), scheme
                edits.undo()
                assert all(torch.equal(value, before[name]) for name, value in whole(model).items())
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

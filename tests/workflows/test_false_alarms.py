"""What looks like a fault in the graph and is none: matrices and masks that weigh, indices that choose."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import onesigma


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def graver(model: nn.Module, batch: object) -> list[str]:
    return [finding.code for finding in onesigma.check(model, batch).findings if finding.severity != "info"]


class Messages(nn.Module):
    """A graph convolution; the adjacency matrix has rows that add up to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.near, self.own, self.head = nn.Linear(16, 64, bias=False), nn.Linear(16, 64), nn.Linear(64, 3)
        onesigma.init.kaiming_normal_(self.near.weight, key=(0, "near"))
        onesigma.init.kaiming_normal_(self.own.weight, key=(0, "own"))

    def forward(self, x: torch.Tensor, adjacency: torch.Tensor) -> torch.Tensor:
        return self.head(F.elu(self.own(x) + adjacency @ self.near(x)))


class Masked(nn.Module):
    """Attention with what may not be looked at sent to minus infinity, or nearly so."""

    def __init__(self, *, least: float) -> None:
        super().__init__()
        self.least, self.project, self.head = least, nn.Linear(32, 96, bias=False), nn.Linear(32, 3)
        onesigma.init.normal_(self.project.weight, std=32**-0.5, key=(0, "project"))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        penalty = (1 - mask[:, None, :]) * self.least
        return self.head((query @ key.mT / math.sqrt(32) + penalty).softmax(-1) @ value)


class Experts(nn.Module):
    """The router's largest probabilities weigh the experts' answers; its places say which expert gets which row."""

    def __init__(self, *, reads_router: bool = False) -> None:
        super().__init__()
        self.router, self.weights = nn.Linear(32, 8), nn.Parameter(torch.empty(8, 32, 32))
        self.head, self.late = nn.Linear(32, 3), nn.Linear(2, 3) if reads_router else None
        onesigma.init.normal_(self.weights, std=32**-0.5, key=(0, "experts"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares, chosen = self.router(x).softmax(-1).topk(2, -1)
        if self.late is not None:
            return self.late(shares)
        answers = torch.einsum("nd,nkde->nke", x, self.weights[chosen])
        return self.head((answers * shares[..., None]).sum(1))


def test_an_adjacency_matrix_is_no_input_at_the_wrong_scale() -> None:
    links = (seeded(64, 64, seed=1) > 0.5).float()
    assert graver(Messages(), ((seeded(64, 16), links / links.sum(1, keepdim=True).clamp(min=1)), None)) == []


def test_the_features_beside_an_adjacency_matrix_are_judged_as_ever() -> None:
    assert "INP101" in graver(Messages(), ((300 * seeded(64, 16), torch.eye(64)), None))


@pytest.mark.parametrize("least", [-1e4, torch.finfo(torch.float32).min])
def test_a_mask_made_of_zeros_and_huge_numbers_is_no_input(least: float) -> None:
    mask = torch.ones(32, 10)
    mask[::2, 6:] = 0
    assert graver(Masked(least=least), ((seeded(32, 10, 32), mask), None)) == []


def test_a_router_s_softmax_is_no_hidden_layer_for_experts_that_it_only_chooses() -> None:
    assert graver(Experts(), seeded(256, 32)) == []
    assert "STR802" in graver(Experts(reads_router=True), seeded(256, 32))


def pairs_compared(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Every row of one half is to find its own among all of the other, as in contrastive learning."""
    scores = F.normalize(output[:, :8], dim=1) @ F.normalize(output[:, 8:], dim=1).T / 0.1
    return F.cross_entropy(scores, torch.arange(len(output)))


def test_a_contrastive_loss_is_no_sum() -> None:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16))
    onesigma.initialize_(model, seeded(64, 16))
    batch = seeded(64, 16), torch.zeros(64)
    codes = {
        name: [finding.code for finding in onesigma.check(model, batch, loss=loss).findings]
        for name, loss in {"pairs": pairs_compared, "sum": lambda z, y: (z**2).sum()}.items()
    }
    assert "LOS703" not in codes["pairs"]
    assert "LOS703" in codes["sum"]


def test_what_batch_norms_add_to_the_gradient_by_themselves_is_no_warning() -> None:
    """Yang et al. 2019: √(π/(π − 1)) per layer under ReLU, whatever the weights."""
    layers = [part for _ in range(24) for part in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    model = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), *layers, nn.Linear(64, 3))
    onesigma.initialize_(model, seeded(256, 16))
    found = onesigma.check(model, (seeded(256, 16), torch.arange(256) % 3), loss="cross_entropy").findings
    (growth,) = [finding for finding in found if finding.code == "GRA402"]
    assert growth.value > 10
    assert growth.severity == "info"

"""Samples of a batch are coupled where a layer normalizes by the batch, and nowhere else, to the last bit."""

from typing import Any

import pytest
import torch
from torch import nn

from onesigma._errors import BatchError, ModelError
from onesigma.model.state import fingerprint
from onesigma.norm import (
    BatchNormLast,
    BatchRenorm,
    GhostBatchNorm,
    MaskedBatchNorm1d,
    RenormLimits,
    coupling,
    coupling_by_size,
    freeze_,
)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mlp(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, **options), nn.Tanh(), nn.Linear(6, 3))


def by_definition(model: nn.Module, x: torch.Tensor) -> float:
    """The largest |∂out_i/∂in_j|, i ≠ j, over the largest |∂out_i/∂in_i|, from the whole Jacobian."""
    jacobian = torch.autograd.functional.jacobian(model.double(), x.double()).abs().amax((1, 3))
    own = torch.eye(len(x), dtype=torch.bool)
    return float(jacobian[~own].max() / jacobian[own].max())


@pytest.mark.parametrize("size", [3, 8, 32])
def test_it_is_the_ratio_of_the_definition(size: int) -> None:
    found = coupling(mlp(), seeded(size, 4))
    assert found.train == pytest.approx(by_definition(mlp(), seeded(size, 4)), rel=1e-12)
    assert found.eval == 0.0


def test_a_larger_batch_couples_less() -> None:
    sizes = [coupling(mlp(), seeded(size, 4)).train for size in (4, 16, 64)]
    assert sizes == sorted(sizes, reverse=True)


def test_nothing_of_the_model_changes() -> None:
    model = mlp().train()
    model(seeded(8, 4)).sum().backward()
    before = fingerprint(model)
    coupling(model, seeded(8, 4))
    assert fingerprint(model) == before


def test_a_norm_without_running_statistics_couples_in_eval_and_is_named() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), *mlp(track_running_stats=False))
    found = coupling(model, seeded(8, 4))
    assert found.eval > 0
    assert [(layer.layer, layer.eval > 0, layer.train > 0) for layer in found.layers] == [
        ("0", False, True),
        ("2", True, True),
    ]


def test_a_norm_left_in_training_mode_shows_in_eval() -> None:
    model = mlp().eval()
    assert coupling(model, seeded(8, 4)).eval == 0.0
    model[1].train()
    assert coupling(model, seeded(8, 4)).eval > 0


def test_a_frozen_norm_couples_in_neither_mode() -> None:
    model = mlp()
    freeze_(model)
    found = coupling(model, seeded(8, 4))
    assert (found.train, found.eval) == (0.0, 0.0)


class Classifier(nn.Module):
    """Tokens, positions, attention over time, as many positions as samples."""

    def __init__(self, *, flat: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions = nn.Embedding(11, 8), nn.Embedding(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.head, self.flat = nn.Linear(8, 3), flat

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1]))
        logits = self.head(self.layer(x))
        return logits.flatten(0, 1) if self.flat else logits


@pytest.mark.parametrize("flat", [False, True])
def test_attention_over_time_is_no_coupling_of_samples(flat: bool) -> None:
    tokens = torch.randint(0, 11, (6, 6), generator=torch.Generator().manual_seed(0))
    found = coupling(Classifier(flat=flat), {"input_ids": tokens})
    assert (found.train, found.eval) == (0.0, 0.0)
    assert {layer.layer for layer in found.layers} == {"layer.norm1", "layer.norm2"}


def test_attention_over_samples_by_mistake_is() -> None:
    tokens = torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(0))
    assert coupling(Classifier(batch_first=False), tokens).eval > 0


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(8), nn.InstanceNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm([8, 6, 6]), nn.SyncBatchNorm(8)]
)
def test_only_batch_norms_of_images_couple(norm: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Conv2d(8, 4, 3))
    found = coupling(model, seeded(5, 3, 8, 8))
    couples = isinstance(norm, nn.modules.batchnorm._BatchNorm)
    assert (found.train > 0) == couples
    assert found.eval == 0.0
    assert [(layer.layer, layer.train > 0) for layer in found.layers] == [("1", couples)]


class Centered(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


def test_coupling_that_no_layer_makes_is_found_too() -> None:
    found = coupling(nn.Sequential(nn.Linear(4, 4), Centered()), seeded(8, 4))
    assert found.eval == pytest.approx(1 / 7)
    assert found.layers == ()


def test_inputs_that_the_model_writes_to_are_fine() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    assert coupling(Scaled(), seeded(4, 3)).eval == 0.0


def test_one_sample_has_no_other() -> None:
    with pytest.raises(BatchError, match="two samples"):
        coupling(mlp(), seeded(1, 4))


def test_an_output_without_samples_is_refused() -> None:
    class Total(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum()

    with pytest.raises(ModelError, match="axis of 4 samples"):
        coupling(Total(), seeded(4, 3))


def test_a_recurrent_layer_with_time_first_is_read_along_its_axis_of_samples() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 5)

        def forward(self, x: torch.Tensor) -> Any:
            return self.rnn(x)

    torch.manual_seed(0)
    assert coupling(Net(), (seeded(7, 4, 3), torch.zeros(4))).eval == 0.0


class Pair(nn.Module):
    """One sample of many reads one other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 0
        x[37] = x[37] + 0.5 * x[90]
        return x


@pytest.mark.parametrize("size", [128, 100])
def test_one_pair_among_many_samples_is_found(size: int) -> None:
    assert coupling(Pair(), seeded(size, 300)).eval == pytest.approx(0.5)
    assert coupling(nn.Tanh(), seeded(size, 300)).eval == 0.0


def test_the_effect_is_the_change_of_the_others_over_its_own_where_one_sample_is_replaced() -> None:
    model, x = mlp().double(), seeded(6, 4).double()
    across = within = 0.0
    for j in range(6):
        y = x.clone()
        y[j] = x[(j + 1) % 6]
        changes = (model(y) - model(x)).detach().abs().amax(1)
        within = max(within, float(changes[j]))
        across = max(across, float(changes[torch.arange(6) != j].max()))
    found = coupling(mlp(), x.float())
    assert found.train_effect == pytest.approx(across / within, rel=1e-6)
    assert found.eval_effect == 0.0


def test_a_batch_of_two_has_no_gradient_left_but_an_effect() -> None:
    """Its outputs are ±1 whatever the data: only by exchanging the order does one sample see the other."""
    found = coupling(nn.BatchNorm1d(3), torch.tensor([[0.0, 1.0, 2.0], [1.0, 5.0, 0.0]]))
    assert found.train == pytest.approx(1.0, rel=1e-3)
    assert found.train_effect > 0


def test_an_effect_is_named_by_layer_and_tokens_are_replaced_as_they_are() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table, self.norm = nn.Embedding(11, 8), nn.BatchNorm1d(5)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.norm(self.table(tokens)).sum(-1)

    tokens = torch.randint(0, 11, (6, 5), generator=torch.Generator().manual_seed(0))
    found = coupling(Tokens(), tokens)
    assert found.train_effect > 0
    assert [(each.layer, each.train_effect > 0, each.eval_effect) for each in found.layers] == [("norm", True, 0.0)]


def test_it_is_an_assertion_that_names_the_layers() -> None:
    coupling(mlp(), seeded(8, 4)).assert_none()
    with pytest.raises(AssertionError, match=r"in training mode .* by layer '1'"):
        coupling(mlp(), seeded(8, 4)).assert_none(training=True)
    with pytest.raises(AssertionError, match=r"in eval mode .* by layer '1'"):
        coupling(mlp(track_running_stats=False), seeded(8, 4)).assert_none()
    with pytest.raises(AssertionError, match="no normalizing layer"):
        coupling(Centered(), seeded(8, 4)).assert_none()


def test_by_size_is_that_of_the_first_samples() -> None:
    found = coupling_by_size(mlp(), seeded(16, 4))
    assert list(found) == [2, 4, 8, 16]
    assert found[8] == coupling(mlp(), seeded(16, 4)[:8])
    assert found[4].train_effect > found[16].train_effect > 0
    with pytest.raises(BatchError, match="from 2 to 16"):
        coupling_by_size(mlp(), seeded(16, 4), sizes=[32])


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = MaskedBatchNorm1d(3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.norm(x, mask)


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (GhostBatchNorm(4, ghost_size=4), seeded(8, 4)),
        (BatchNormLast(4), seeded(6, 3, 4)),
        (BatchRenorm(4, limits=RenormLimits(warmup=0, r_full=0, d_full=0)), seeded(8, 4)),
        (Padded(), {"x": seeded(4, 3, 5), "mask": seeded(4, 5) > -0.5}),
    ],
    ids=["ghost", "last", "renorm", "masked"],
)
def test_a_layer_that_takes_parts_or_rows_of_the_batch_is_looked_at_as_a_whole(model: nn.Module, batch: Any) -> None:
    found = coupling(model, batch)
    (layer,) = found.layers
    assert found.train > 0
    assert layer.train == pytest.approx(found.train, rel=1e-12)
    assert layer.train_effect > 0
    assert (found.eval, layer.eval) == (0.0, 0.0)


def test_rows_count_as_samples_where_a_norm_sees_no_samples() -> None:
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.batch, self.layer = nn.BatchNorm1d(4), nn.LayerNorm(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.batch(x.flatten(0, 1))).view(x.shape)

    found = coupling(Flattened(), seeded(6, 3, 4))
    assert [(layer.layer, layer.train > 0, layer.eval) for layer in found.layers] == [
        ("batch", True, 0.0),
        ("layer", False, 0.0),
    ]

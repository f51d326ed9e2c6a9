"""`initialize_`: one pass, every pre-activation at unit scale, everything else as it was, and a way back."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import CaptureError, ConfigError, NoEffectWarning
from onesigma.init.initialize import initialize_
from onesigma.measure import measure
from onesigma.model.state import fingerprint


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def chain(activation: type[nn.Module], *, depth: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width), activation())])


class Dense(nn.Module):
    """Every layer reads all before it, as in a DenseNet."""

    def __init__(self, layers: int = 12, growth: int = 8) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 + i * growth, growth, 3, padding=1) for i in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = torch.cat([x, F.relu(conv(x))], 1)
        return x


class Block(nn.Module):
    """A transformer block with functional pieces, a gate, a zero-initialized writer and a weight-normed layer."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.gate, self.up, self.down = (nn.Linear(dim, 2 * dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(dim, dim))
        self.zero = nn.Linear(dim, dim)
        nn.init.zeros_(self.zero.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        x += self.zero(torch.tanh(self.normed(x)))
        return x


MODELS = {
    "tanh": (chain(nn.Tanh, depth=20), seeded(256, 32)),
    "relu": (chain(nn.ReLU, depth=20), seeded(256, 32)),
    "silu": (chain(nn.SiLU, depth=50), seeded(256, 32)),
    "dense": (Dense(), seeded(8, 3, 12, 12)),
    "block": (nn.Sequential(Block(), Block()), seeded(16, 10, 32)),
    "transposed": (
        nn.Sequential(
            nn.Conv1d(3, 16, 5, stride=2), nn.GELU(), nn.ConvTranspose1d(16, 8, 4, 2), nn.ReLU(), nn.Flatten()
        ),
        seeded(16, 3, 41),
    ),
    "off scale": (chain(nn.Tanh, depth=3), 1e4 * seeded(128, 32) + 5e4),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_linear_that_was_set_has_unit_std_when_measured_again(name: str) -> None:
    model, x = MODELS[name]
    edits = initialize_(model, x)
    try:
        kept = {edit.layer for edit in edits.refused}
        stds = {r.name: r.output.std for r in measure(model, x).of_kind("linear") if r.output and r.name not in kept}
        assert stds
        # One float32 division of every weight: each output is off by a few roundings.
        assert {layer: std for layer, std in stds.items() if abs(std - 1) > 1e-3} == {}
    finally:
        edits.undo()


@pytest.mark.parametrize("name", MODELS)
def test_undo_puts_back_every_bit_and_nothing_else_was_touched(name: str) -> None:
    model, x = MODELS[name]
    before = fingerprint(model)
    initialize_(model, x).undo()
    assert fingerprint(model) == before


def test_the_draw_has_the_right_fan_and_gain() -> None:
    model = nn.Sequential(nn.Linear(1000, 2000), nn.ReLU(), nn.Linear(2000, 500))
    first, second = initialize_(model, seeded(100, 1000))
    # Before the data are asked, the std is 1 up to sampling: 100 rows of inputs with E[x²] off by √(2/(100·1000)),
    # and weights of which one row's norm is off by √(2/fan_in) while their mean over 500 rows is not.
    assert first.before == pytest.approx(1, rel=5 / math.sqrt(2 * 1000))
    assert second.before == pytest.approx(1, rel=5 / math.sqrt(2 * 500))
    assert "gain 1.4142 (relu), fan_in 2000" in second.reason


def test_the_seed_and_the_name_alone_make_the_weights() -> None:
    x = seeded(64, 32)
    torch.manual_seed(1)
    one = chain(nn.Tanh, depth=2)
    torch.manual_seed(2)
    other = chain(nn.Tanh, depth=4)
    initialize_(one, x, seed=3)
    initialize_(other, x, seed=3)
    assert torch.equal(one[2].weight, other[2].weight)
    initialize_(other, x, seed=4)
    assert not torch.equal(one[2].weight, other[2].weight)


def test_wrapped_models_get_the_weights_of_the_bare_one() -> None:
    x = seeded(64, 32)
    bare, wrapped = chain(nn.Tanh, depth=2), nn.DataParallel(chain(nn.Tanh, depth=2))
    initialize_(bare, x)
    initialize_(wrapped, x)
    assert torch.equal(bare[2].weight, wrapped.module[2].weight)


def test_intended_zeros_stay_and_forgotten_zeros_do_not() -> None:
    model = nn.Sequential(Block())
    edits = initialize_(model, seeded(8, 6, 32))
    assert not model[0].zero.weight.any()
    assert [edit.reason for edit in edits.refused if edit.layer == "0.zero"] == [
        "intended zero: it gates a branch or opens a head, and stays zero"
    ]
    dead = chain(nn.ReLU, depth=2)
    nn.init.zeros_(dead[0].weight)
    initialize_(dead, seeded(64, 32))
    assert dead[0].weight.any()


def test_a_zero_head_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    nn.init.zeros_(model[2].weight)
    edits = initialize_(model, seeded(64, 8))
    assert [edit.layer for edit in edits.refused] == ["2"]


def test_tied_weights_are_set_once_for_the_head_that_reads_them() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.norm, self.head = nn.Embedding(50, 64), nn.LayerNorm(64), nn.Linear(64, 50, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.embed(tokens)))

    model, tokens = Tied(), torch.arange(50).reshape(10, 5)
    edits = initialize_(model, tokens)
    assert model.head.weight is model.embed.weight
    assert [edit.layer for edit in edits.refused] == ["head"]
    # 250 · 50 logits over 64 dimensions; but the 50 rows share one matrix: std ± 5/√(2·50).
    assert model(tokens).std().item() == pytest.approx(1, rel=5 / math.sqrt(2 * 50))


def test_the_padding_row_of_an_embedding_stays_zero() -> None:
    model = nn.Sequential(nn.Embedding(20, 16, padding_idx=3), nn.Linear(16, 4))
    initialize_(model, torch.arange(20).reshape(4, 5))
    assert not model[0].weight[3].any()
    assert model[0].weight[4].any()


def test_normalized_and_frozen_weights_are_refused_with_a_reason() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
        nn.Tanh(),
        nn.utils.parametrizations.orthogonal(nn.Linear(8, 8)),
        nn.Tanh(),
        nn.Linear(8, 8).requires_grad_(False),
        nn.Linear(8, 8),
    )
    model(seeded(4, 8))
    before = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("5.")}
    edits = initialize_(model, seeded(32, 8))
    assert [edit.layer for edit in edits.refused] == ["0", "2", "4"]
    assert all(edit.reason for edit in edits.refused)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_skip_takes_patterns_of_layers_and_parameters() -> None:
    model = chain(nn.Tanh, depth=3)
    edits = initialize_(model, seeded(16, 32), skip=["0", "4.weight"])
    assert [edit.layer for edit in edits.refused] == ["0", "4"]


def test_lstm_gates_have_blocks_of_their_own_and_an_open_forget_gate() -> None:
    model = nn.LSTM(64, 32, batch_first=True)
    (edit,) = initialize_(model, seeded(16, 10, 64))
    assert edit.action == "draw gates"
    total = model.bias_ih_l0 + model.bias_hh_l0
    assert total[32:64].eq(1).all()
    assert total[:32].eq(0).all()
    for block in model.weight_hh_l0.chunk(4):
        torch.testing.assert_close(block @ block.T, torch.eye(32))
    # 4·32·64 draws: the std of n draws is off by 1/√(2n).
    assert model.weight_ih_l0.std().item() == pytest.approx(1 / 8, rel=5 / math.sqrt(2 * 4 * 32 * 64))


def test_if_the_model_raises_nothing_has_changed() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(9, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.tanh(self.first(x)))

    model = Broken()
    before = fingerprint(model)
    with pytest.raises(CaptureError):
        initialize_(model, seeded(4, 8))
    assert fingerprint(model) == before


def test_batch_norm_statistics_and_gradients_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    model(seeded(16, 8)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    mean = model[1].running_mean.clone()
    initialize_(model, seeded(16, 8, seed=1))
    assert torch.equal(model[1].running_mean, mean)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))


def test_a_model_without_weights_warns() -> None:
    with pytest.warns(NoEffectWarning):
        initialize_(nn.Sequential(nn.Tanh()), seeded(4, 8))


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="'unit'"):
        initialize_(nn.Linear(2, 2), seeded(4, 2), scheme="magic")

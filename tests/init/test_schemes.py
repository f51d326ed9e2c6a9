"""Rules and recipes: right fans and gains by role, residual writers off the graph, heads that start near log C."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma.init.initialize import initialize_
from onesigma.init.parts import Parts
from onesigma.model.capture import capture
from onesigma.model.state import fingerprint

SCHEMES = ("kaiming", "xavier", "lecun", "orthogonal", "gpt2", "llama", "deepnorm", "t-fixup", "fixup", "mup")


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A pre-norm block whose names say nothing of their roles."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c, self.d, self.e = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.a(self.n1(x)).chunk(3, -1))
        x = x + self.b(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        y = self.n2(x)
        return x + self.e(F.silu(self.c(y)) * self.d(y))


class Language(nn.Module):
    def __init__(self, depth: int = 3, width: int = 64) -> None:
        super().__init__()
        self.i, self.n, self.o = nn.Embedding(50, width), nn.LayerNorm(width), nn.Linear(width, 50)
        self.body = nn.Sequential(*(Block(width) for _ in range(depth)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.o(self.n(self.body(self.i(tokens))))


TOKENS = torch.randint(50, (4, 12), generator=torch.Generator().manual_seed(0))


def std_is(weight: torch.Tensor, std: float) -> None:
    # The std of n Gaussian draws is off by 1/√(2n), five times that does not flake.
    assert weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))


def test_roles_are_read_off_the_graph() -> None:
    roles = Parts(capture(Language(), TOKENS)).roles
    block = {name.removeprefix("body.0."): found for name, found in roles.items() if name.startswith("body.0.")}
    assert block == {
        "a.weight": {"query", "key", "value", "qkv"},
        "b.weight": {"residual_writer"},
        "c.weight": {"gate"},
        "d.weight": {"up"},
        "e.weight": {"residual_writer"},
    }
    assert (roles["i.weight"], roles["o.weight"]) == ({"embedding"}, {"head"})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_can_be_undone_and_leaves_the_random_state(scheme: str) -> None:
    model = Language()
    before, state = fingerprint(model), torch.get_rng_state()
    edits = initialize_(model, TOKENS, scheme=scheme)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(edits.applied) >= 12
    assert all(edit.reason for edit in edits)
    edits.undo()
    assert fingerprint(model) == before


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_value_of_the_data_counts(scheme: str) -> None:
    one, other = Language(), Language()
    initialize_(one, TOKENS, scheme=scheme)
    initialize_(other, TOKENS.flip(1)[:2], scheme=scheme)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_kaiming_takes_the_gain_of_what_feeds_the_layer_and_the_fan_of_its_role() -> None:
    model = nn.Sequential(nn.Conv2d(8, 32, 3, groups=2), nn.GELU(), nn.ConvTranspose2d(32, 16, 4, 2))
    initialize_(model, seeded(2, 8, 8, 8), scheme="kaiming")
    std_is(model[0].weight, 1 / math.sqrt(4 * 9))
    std_is(model[2].weight, 1.533530441195535 / math.sqrt(32 * 4))


def test_xavier_counts_each_of_the_packed_projections_for_itself() -> None:
    model = Block()
    initialize_(model, seeded(2, 5, 64), scheme="xavier")
    std_is(model.a.weight, math.sqrt(2 / (64 + 64)))
    packed = nn.MultiheadAttention(64, 4, batch_first=True)
    wrapper = nn.Sequential(nn.Linear(64, 64), nn.TransformerEncoderLayer(64, 4, 128, batch_first=True))
    initialize_(wrapper, seeded(2, 5, 64), scheme="xavier")
    std_is(wrapper[1].self_attn.in_proj_weight, math.sqrt(2 / (64 + 64)))
    assert packed.in_proj_weight.std().item() == pytest.approx(math.sqrt(2 / (64 + 192)), rel=0.05)


def test_orthogonal_blocks_keep_lengths_and_unit_variance() -> None:
    model = Block()
    initialize_(model, seeded(2, 5, 64), scheme="orthogonal")
    for block in model.a.weight.chunk(3):
        torch.testing.assert_close(block @ block.T, torch.eye(64), atol=1e-5, rtol=1e-5)
    # 128 outputs of 64 inputs: orthonormal columns, scaled so that each output has variance 1.
    torch.testing.assert_close(model.c.weight.T @ model.c.weight, 2 * torch.eye(64), atol=1e-5, rtol=1e-5)


def test_gpt2_divides_exactly_the_residual_writers() -> None:
    model = Language(depth=3)
    initialize_(model, TOKENS, scheme="gpt2")
    for block in model.body:
        for layer in (block.a, block.c, block.d):
            std_is(layer.weight, 0.02)
        for layer in (block.b, block.e):
            std_is(layer.weight, 0.02 / math.sqrt(6))
    std_is(model.i.weight, 0.02)


def test_llama_scales_writers_by_their_own_layer_and_not_the_gate_or_the_value() -> None:
    model = Language(depth=3)
    initialize_(model, TOKENS, scheme="llama")
    for number, block in enumerate(model.body):
        std_is(block.e.weight, 0.02 / math.sqrt(2 * (number + 1)))
        std_is(block.d.weight, 0.02)
    std_is(model.o.weight, 1 / 8)


def test_deepnorm_and_t_fixup_follow_the_papers() -> None:
    model, xavier = Language(depth=3), math.sqrt(2 / 128)
    initialize_(model, TOKENS, scheme="deepnorm")
    std_is(model.body[1].b.weight, xavier * 24**-0.25)
    initialize_(model, TOKENS, scheme="t-fixup")
    std_is(model.body[1].b.weight, xavier * 0.67 * 3**-0.25)
    std_is(model.i.weight, 27**-0.25 / 8)


def test_encoder_and_decoder_have_their_own_factors() -> None:
    model = nn.Transformer(32, 4, 2, 3, 64, batch_first=True)
    initialize_(model, ((seeded(2, 6, 32), seeded(2, 5, 32)), None), scheme="deepnorm")
    xavier, depth = math.sqrt(2 / 64), (2**4 * 3) ** (1 / 16)
    std_is(model.encoder.layers[1].self_attn.out_proj.weight, xavier * 1.15 / depth)
    std_is(model.decoder.layers[2].multihead_attn.out_proj.weight, xavier * 36**-0.25)


def test_fixup_closes_every_branch_and_the_head() -> None:
    model = Language()
    initialize_(model, TOKENS, scheme="fixup")
    assert not any(block.e.weight.any() or block.b.weight.any() for block in model.body)
    assert not model.o.weight.any()


def test_mup_reads_out_with_one_over_fan_in() -> None:
    model = Language()
    initialize_(model, TOKENS, scheme="mup")
    std_is(model.o.weight, 1 / 64)


@pytest.mark.parametrize("scheme", ["kaiming", "xavier", "orthogonal", "lecun", "mup"])
def test_with_labels_the_first_loss_is_log_c(scheme: str) -> None:
    model = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
    x, y = seeded(256, 20), torch.arange(256) % 10
    initialize_(model, (x, y), scheme=scheme)
    # Logits of std s cost about s²/2 more: 0.005 at s = 0.1, and for any draw of ten columns less than four times that.
    assert F.cross_entropy(model(x), y).item() == pytest.approx(math.log(10), abs=0.03)


def test_head_takes_a_factor_of_your_own() -> None:
    model = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
    batch = seeded(256, 20), torch.arange(256) % 10
    edits = initialize_(model, batch)
    assert model(batch[0]).std(correction=0).item() == pytest.approx(1, rel=1e-3)
    edits = initialize_(model, batch, head=0.1)
    assert edits[-1].after == pytest.approx(0.1, rel=1e-3)
    assert F.cross_entropy(model(batch[0]), batch[1]).item() == pytest.approx(math.log(10), abs=0.03)


@pytest.mark.parametrize(
    ("entries", "set_"),
    [
        (["residual_writer"], {"body.0.b", "body.0.e", "body.1.b", "body.1.e", "body.2.b", "body.2.e"}),
        (["Embedding"], {"i"}),
        (["body.1"], {f"body.1.{name}" for name in "abcde"}),
        (["head", "i.weight"], {"i", "o"}),
        (["qkv"], {f"body.{i}.a" for i in range(3)}),
        (["gate", "up"], {f"body.{i}.{name}" for i in range(3) for name in "cd"}),
    ],
)
def test_where_means_names_types_and_roles(entries: list[str], set_: set[str]) -> None:
    model = Language()
    assert {edit.layer for edit in initialize_(model, TOKENS, where=entries).applied} == set_
    # And skip means the same, the other way about.
    everything = {edit.layer for edit in initialize_(model, TOKENS).applied}
    left = {edit.layer for edit in initialize_(model, TOKENS, skip=entries).applied}
    assert left == everything - set_ or entries == ["body.1"]


def test_where_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="residual_writer"):
        initialize_(Language(), TOKENS, where=["no.such.layer"])


def test_skipping_everything_warns() -> None:
    with pytest.warns(NoEffectWarning):
        initialize_(nn.Linear(4, 4), seeded(8, 4), skip=["Linear"])

"""The audit finds each initialization bug that went unnoticed in public code, and none in its fixed twin."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import ConfigError
from onesigma.init.audit import audit
from onesigma.init.initialize import initialize_
from onesigma.model.state import fingerprint

WIDTH, DEPTH = 64, 4


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = nn.Linear(WIDTH, WIDTH)
        self.w1, self.w3 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.w2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.attn(self.norm1(x))[:, None].chunk(3, -1)
        x = x + self.c_proj(F.scaled_dot_product_attention(q, k, v)[:, 0])
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(100, WIDTH), nn.Linear(WIDTH, 100, bias=False)
        self.layers = nn.ModuleList(Layer() for _ in range(DEPTH))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


TOKENS = torch.arange(60).reshape(5, 12)


def gpt2(*, writers: tuple[str, ...] = ("c_proj", "w2"), draw: Callable[..., object] = nn.init.normal_) -> Model:
    """The recipe as its users write it; `writers` are the names that get the factor of depth."""
    torch.manual_seed(0)
    model = Model()
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            scaled = name.split(".")[-2] in writers
            draw(weight, std=0.02 / math.sqrt(2 * DEPTH) if scaled else 0.02)
    return model


def kinds(model: nn.Module, recipe: str, **asked: float) -> set[tuple[str, str]]:
    return {(misfit.weight.split(".")[-2], misfit.kind) for misfit in audit(model, TOKENS, recipe=recipe, **asked)}


def test_the_fixed_twin_is_clean() -> None:
    assert kinds(gpt2(), "gpt2") == set()


def test_a_test_on_the_short_name_that_never_matches_leaves_writers_unscaled() -> None:
    assert kinds(gpt2(writers=("w2",)), "gpt2") == {("c_proj", "unscaled-residual-writer")}


def test_the_value_projection_scaled_as_well_or_instead() -> None:
    assert kinds(gpt2(writers=("c_proj", "w2", "w3")), "gpt2") == {("w3", "wrong-projection-scaled")}
    assert kinds(gpt2(writers=("c_proj", "w3")), "gpt2") == {
        ("w3", "wrong-projection-scaled"),
        ("w2", "unscaled-residual-writer"),
    }


def test_a_layer_that_was_forgotten() -> None:
    model = gpt2()
    model.layers[1].w1.reset_parameters()
    assert kinds(model, "gpt2") == {("w1", "unset")}


def test_bounds_that_are_absolute_cut_nothing() -> None:
    buggy = gpt2(draw=lambda w, std: nn.init.trunc_normal_(w, std=std, a=-2.0, b=2.0))
    fixed = gpt2(draw=lambda w, std: nn.init.trunc_normal_(w, std=std / 0.8796, a=-2 * std / 0.88, b=2 * std / 0.88))
    found = kinds(buggy, "gpt2", truncated=2.3)
    assert {kind for _, kind in found} == {"no-op-truncation"}
    assert kinds(fixed, "gpt2", truncated=2.3) == set()


def test_one_seed_per_layer_makes_equal_tensors() -> None:
    def same(weight: torch.Tensor, std: float) -> None:
        nn.init.normal_(weight, std=std, generator=torch.Generator().manual_seed(1))

    found = kinds(gpt2(draw=same), "gpt2")
    assert ("attn", "identical-tensors") in found
    assert {kind for _, kind in found} == {"identical-tensors"}


def test_packed_projections_with_the_fan_of_the_stack() -> None:
    model = Model()
    initialize_(model, TOKENS, scheme="xavier", head=1.0)
    assert kinds(model, "xavier") == set()
    for layer in model.layers:
        nn.init.xavier_normal_(layer.attn.weight)
    assert kinds(model, "xavier") == {("attn", "packed-projections")}


def test_a_fan_that_was_read_from_a_shard() -> None:
    model = Model()
    initialize_(model, TOKENS, scheme="lecun", head=1.0)
    assert kinds(model, "lecun") == set()
    nn.init.normal_(model.layers[0].w1.weight, std=1 / math.sqrt(WIDTH / 4))
    assert kinds(model, "lecun") == {("w1", "fan-of-a-shard")}


@pytest.mark.filterwarnings("ignore")
def test_what_is_written_after_weight_norm_is_lost() -> None:
    x = torch.randn(4, WIDTH)
    buggy, fixed = (nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(2))
    nn.init.normal_(fixed[0].weight, std=1 / 8)
    for model in (buggy, fixed):
        model[0] = nn.utils.weight_norm(model[0])
    with torch.no_grad():
        buggy[0].weight.normal_(std=1 / 8)
    assert [misfit.kind for misfit in audit(buggy, x, recipe="lecun")] == ["lost-under-weight-norm"]
    assert audit(fixed, x, recipe="lecun") == ()


@pytest.mark.parametrize("recipe", ["kaiming", "xavier", "lecun", "orthogonal", "gpt2", "llama", "deepnorm", "mup"])
def test_what_initialize_makes_passes_its_own_audit(recipe: str) -> None:
    model = Model()
    initialize_(model, TOKENS, scheme=recipe, head=1.0)
    before = fingerprint(model)
    assert kinds(model, recipe) == set()
    assert fingerprint(model) == before


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match="gpt2"):
        audit(Model(), TOKENS, recipe="magic")

"""The audit of a factory finds what values do not tell: drawn twice, drawn into nothing, wiped; none in the twins."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from onesigma._errors import ModelError
from onesigma.init.audit import audit
from onesigma.init.history import History
from onesigma.init.misfit import KINDS

WIDTH, DEPTH = 64, 2
X = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(24).reshape(2, 12)


def kinds(build: Callable[[], nn.Module], batch: torch.Tensor = X, **asked: object) -> list[tuple[str, str]]:
    return sorted((misfit.weight, misfit.kind) for misfit in audit(build, batch, **asked))  # type: ignore[arg-type]


def lecun(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features))
        nn.init.zeros_(layer.bias)


def stack() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))


# --- doubly set


def test_a_right_draw_with_a_wrong_one_after_it() -> None:
    def buggy() -> nn.Module:
        model = stack().apply(lecun)
        nn.init.xavier_uniform_(model[0].weight, gain=3.0)
        return model

    def fixed() -> nn.Module:
        model = stack()
        nn.init.xavier_uniform_(model[0].weight, gain=3.0)
        return model.apply(lecun)

    assert kinds(buggy, recipe="lecun") == [("0.weight", "doubly-set")]
    assert kinds(fixed, recipe="lecun") == []


def test_reset_parameters_after_the_initialization() -> None:
    def buggy() -> nn.Module:
        model = stack().apply(lecun)
        for layer in model:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        return model

    assert kinds(buggy, recipe="lecun") == [("0.weight", "doubly-set"), ("2.weight", "doubly-set")]


def test_every_parent_initializes_its_children_again() -> None:
    class Outer(nn.Module):
        def __init__(self, *, again: bool) -> None:
            super().__init__()
            self.body = stack().apply(lecun) if again else stack()
            self.apply(lecun)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    assert kinds(lambda: Outer(again=True), recipe="lecun") == [
        ("body.0.weight", "doubly-set"),
        ("body.2.weight", "doubly-set"),
    ]
    assert kinds(lambda: Outer(again=False), recipe="lecun") == []


class Tied(nn.Module):
    def __init__(self, *, embedding: float) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(100, WIDTH), nn.Linear(WIDTH, 100, bias=False)
        self.head.weight = self.embed.weight
        nn.init.normal_(self.embed.weight, std=embedding)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(F.layer_norm(self.embed(tokens), (WIDTH,)))


def test_a_tied_weight_whose_owners_disagree() -> None:
    assert kinds(lambda: Tied(embedding=1.0), TOKENS, recipe="gpt2") == [("embed.weight", "doubly-set")]
    assert kinds(lambda: Tied(embedding=0.02), TOKENS, recipe="gpt2") == []


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.c_proj = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256), nn.Linear(256, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.c_proj(F.gelu(self.up(self.norm(x))))


def test_a_residual_writer_that_is_drawn_again_on_purpose_is_no_misfit() -> None:
    def build() -> nn.Module:
        model = nn.Sequential(*(Block() for _ in range(4)))
        model.apply(lambda layer: isinstance(layer, nn.Linear) and nn.init.normal_(layer.weight, std=0.02))
        for name, weight in model.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(weight, std=0.02 / math.sqrt(4))
        return model

    assert kinds(build, recipe="gpt2") == []


# --- wiped by to_empty


class Rotary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 1 / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH), persistent=False)
        self.register_buffer("positions", torch.arange(12), persistent=False)
        self.lin, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)

    def fill(self) -> None:
        self.inv_freq.copy_(1 / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH))
        self.positions.copy_(torch.arange(12))
        self.norm.reset_parameters()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turn = torch.cat([self.inv_freq, self.inv_freq]).cos() + self.positions.sum() * 0
        return self.norm(self.lin(x * torch.nan_to_num(turn, 0, 0, 0).clamp(-1, 1)))


def through_meta(*, fill: bool) -> nn.Module:
    with torch.device("meta"):
        model = Rotary()
    model.to_empty(device="cpu").apply(lecun)
    if fill:
        model.fill()
    return model


def test_buffers_that_to_empty_wiped() -> None:
    assert kinds(lambda: through_meta(fill=True), recipe="lecun") == []
    found = kinds(lambda: through_meta(fill=False), recipe="lecun")
    assert [name for name, kind in found if kind == "wiped-buffer"] == [
        "inv_freq",
        "norm.num_batches_tracked",
        "norm.running_mean",
        "norm.running_var",
        "positions",
    ]
    # The norm's own weight and bias are as empty.
    assert [name for name, kind in found if kind == "unset"] == ["norm.bias", "norm.weight"]


def test_buffers_are_known_as_wiped_though_the_model_ran_since_then() -> None:
    with History() as history:
        model = through_meta(fill=False)
    for buffer in (model.norm.num_batches_tracked, model.norm.running_mean, model.norm.running_var):
        buffer.fill_(1)  # What a pass writes, and what puts the state back after it.
    found = {misfit.weight for misfit in audit(model, X, recipe="lecun", history=history)}
    assert {"norm.num_batches_tracked", "norm.running_mean", "norm.running_var"} <= found


@pytest.mark.parametrize(
    ("name", "garbage"),
    [("inv_freq", math.nan), ("inv_freq", 0.0), ("norm.running_var", 0.0), ("norm.running_var", -1.0), ("positions", 0),
     ("norm.num_batches_tracked", 2**55)],
)  # fmt: skip
def test_values_tell_of_wiped_buffers_where_there_is_no_factory(name: str, garbage: float) -> None:
    model = Rotary().apply(lecun).eval()
    assert audit(model, X, recipe="lecun") == ()
    model.get_buffer(name).fill_(garbage)
    found = [(misfit.weight, misfit.kind) for misfit in audit(model, X, recipe="lecun")]
    assert found == [(name, "wiped-buffer")]


def test_what_lies_in_unused_memory_is_told_by_numbers_below_the_normal_ones() -> None:
    model = Rotary().apply(lecun)
    model.inv_freq.copy_(torch.tensor([4.59e-41, 1e-3] * (WIDTH // 4)))
    assert [misfit.kind for misfit in audit(model, X, recipe="lecun")] == ["wiped-buffer"]


def test_skip_init_leaves_memory_that_nobody_wrote_to() -> None:
    def build(*, draw: bool) -> nn.Module:
        layer = nn.utils.skip_init(nn.Linear, WIDTH, WIDTH)
        return layer.apply(lecun) if draw else layer

    assert kinds(lambda: build(draw=True), recipe="lecun") == []
    assert set(kinds(lambda: build(draw=False), recipe="lecun")) >= {("weight", "unset"), ("bias", "unset")}


# --- lost under a parametrization


@pytest.mark.parametrize("style", ["parametrization", "hook"])
def test_a_draw_after_weight_norm_is_lost(style: str) -> None:
    def norm(layer: nn.Linear) -> nn.Module:
        if style == "parametrization":
            return parametrizations.weight_norm(layer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nn.utils.weight_norm(layer)

    def buggy() -> nn.Module:
        layer = norm(nn.Linear(WIDTH, WIDTH))
        nn.init.normal_(layer.weight, std=1 / 8)
        return nn.Sequential(layer, nn.ReLU())

    def fixed() -> nn.Module:
        layer = nn.Linear(WIDTH, WIDTH)
        lecun(layer)
        return nn.Sequential(norm(layer), nn.ReLU())

    assert [kind for _, kind in kinds(buggy, recipe="lecun")] == ["lost-under-weight-norm"]
    assert kinds(fixed, recipe="lecun") == []


@pytest.mark.parametrize("parametrize", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_a_draw_under_any_other_parametrization_is_lost(parametrize: Callable[[nn.Module], nn.Module]) -> None:
    def buggy() -> nn.Module:
        layer = parametrize(nn.Linear(WIDTH, WIDTH))
        nn.init.orthogonal_(layer.weight)
        return layer

    def fixed() -> nn.Module:
        layer = nn.Linear(WIDTH, WIDTH)
        nn.init.orthogonal_(layer.weight)
        return parametrize(layer)

    assert kinds(buggy, recipe="lecun") == [("weight", "lost-under-parametrization")]
    assert kinds(fixed, recipe="lecun") == []


def test_assigning_through_the_parametrization_is_no_loss() -> None:
    def build() -> nn.Module:
        layer = parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))
        layer.weight = torch.randn(WIDTH, WIDTH) / 8
        return layer

    assert kinds(build, recipe="lecun") == []


# --- the rest of the list


def test_bounds_that_cut_nothing_are_found_without_being_asked_for() -> None:
    def build(bound: float) -> nn.Module:
        layer = nn.Linear(2500, 40)
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-bound, b=bound)
        return layer

    x = torch.randn(4, 2500)
    assert kinds(lambda: build(2.0), x, recipe="lecun") == [("weight", "no-op-truncation")]
    assert kinds(lambda: build(0.06), x, recipe="lecun") == []


def test_the_packed_projections_of_multihead_attention() -> None:
    class Attend(nn.Module):
        def __init__(self, *, fixed: bool) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
            nn.init.xavier_normal_(self.attn.out_proj.weight)
            for part in self.attn.in_proj_weight.chunk(3) if fixed else ():
                nn.init.xavier_normal_(part)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attn(x, x, x, need_weights=False)[0]

    x = torch.randn(2, 5, WIDTH)
    assert kinds(lambda: Attend(fixed=False), x, recipe="xavier") == [("attn.in_proj_weight", "packed-projections")]
    assert kinds(lambda: Attend(fixed=True), x, recipe="xavier") == []


def test_the_output_projection_that_torch_leaves_at_its_default() -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
            for part in self.attn.in_proj_weight.chunk(3):
                nn.init.xavier_normal_(part)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attn(x, x, x, need_weights=False)[0]

    assert kinds(Attend, torch.randn(2, 5, WIDTH), recipe="xavier") == [("attn.out_proj.weight", "unset")]


@pytest.mark.parametrize("groups", [4, 64])
def test_a_grouped_convolution_with_the_fan_of_all_groups(groups: int) -> None:
    def build(fan_in: int) -> nn.Module:
        layer = nn.Conv2d(64, 64, 3, groups=groups)
        nn.init.normal_(layer.weight, std=1 / math.sqrt(fan_in))
        return nn.Sequential(layer, nn.Identity(), nn.BatchNorm2d(64), nn.Sigmoid())

    x = torch.randn(2, 64, 6, 6)
    assert kinds(lambda: build(64 * 9), x, recipe="lecun") == [("0.weight", "fan-of-all-groups")]
    assert kinds(lambda: build(64 // groups * 9), x, recipe="lecun") == []


def test_every_kind_has_a_meaning_and_no_other_is_found() -> None:
    assert {kind for _, kind in kinds(lambda: through_meta(fill=False), recipe="lecun")} <= set(KINDS)


# --- the history itself


def test_a_history_changes_no_value_and_no_random_number() -> None:
    def build() -> tuple[list[torch.Tensor], torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Transformer(WIDTH, 4, 1, 1, 64, batch_first=True).apply(lecun)
        nn.init.orthogonal_(model.encoder.layers[0].linear1.weight)
        nn.init.trunc_normal_(model.encoder.layers[0].linear2.weight, std=0.02)
        return [*model.parameters()], torch.rand(3)

    plain, after = build()
    with History() as history:
        watched, then = build()
    assert all(map(torch.equal, plain, watched))
    assert torch.equal(after, then)
    assert all(history.parts_of(weight) for weight in watched if weight.dim() > 1)


def test_what_is_multiplied_belongs_to_the_draw_before_it() -> None:
    with History() as history:
        layer = nn.Linear(WIDTH, WIDTH)
        nn.init.normal_(layer.weight)
        with torch.no_grad():
            layer.weight.mul_(0.5)
        nn.init.normal_(layer.weight)
    stds = [write.std for write in history.of(layer.weight) if not write.asked.own]
    standard_error = 5 / math.sqrt(2 * WIDTH**2)
    assert stds == [pytest.approx(0.5, rel=standard_error), pytest.approx(1.0, rel=standard_error)]


def test_a_factory_that_returns_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="NoneType"):
        audit(lambda: None, X)  # type: ignore[arg-type,return-value]

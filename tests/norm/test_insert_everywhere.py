"""Functions, reused modules, other norms; what is kept: the function in eval, checkpoints, the optimizer."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import fold_, insert_
from onesigma.norm.kinds import ChannelLayerNorm, ChannelRMSNorm, GroupNormLast


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class LeNet(nn.Module):
    """Functions all the way, and a pool between layer and nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 8, 5)
        self.fc1, self.fc2 = nn.Linear(128, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2)).view(-1, 128)
        return F.log_softmax(self.fc2(F.dropout(F.relu(self.fc1(x)), training=self.training)), dim=-1)


class Residual(nn.Module):
    """One in-place ReLU for two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


class OwnWeights(nn.Module):
    """Not one module that could be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(seeded(8, 4)), nn.Parameter(seeded(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(F.linear(x, self.weight, self.bias))
        return torch.tanh(x * 2) + x


class Sequence(nn.Module):
    """A reshape away from the batch, and a weight that is read without its layer being called."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.up.out_features == 12
        return self.down(F.gelu(self.up(x))) + x @ self.up.weight.mT @ self.down.weight.mT


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet": (LeNet, (16, 1, 28, 28)),
    "residual": (Residual, (8, 3, 6, 6)),
    "own weights": (OwnWeights, (32, 4)),
    "sequence": (Sequence, (8, 5, 6)),
    "sequential": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.SiLU()), (32, 4)),
}


def norms_in(model: nn.Module) -> list[nn.Module]:
    kinds = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
    return [module for module in model.modules() if isinstance(module, kinds)]


def trained(model: nn.Module, x: torch.Tensor) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("kind", ["batch", "layer", "rms", "group"])
@pytest.mark.parametrize("name", MODELS)
def test_every_norm_goes_everywhere_and_out_again(name: str, kind: str, position: str) -> None:
    make, shape = MODELS[name]
    model, x = make(), seeded(*shape)
    before = fingerprint(model)
    edits = insert_(model, x, kind=kind, position=position)
    assert edits.applied
    assert not edits.refused
    assert len(norms_in(model)) == len(edits)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied.eval()(x), copy.deepcopy(model).eval()(x), rtol=0, atol=0)
    edits.undo()
    assert fingerprint(model) == before


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("name", MODELS)
def test_preserve_leaves_eval_as_it_was(name: str, position: str) -> None:
    make, shape = MODELS[name]
    model, x = make().eval(), seeded(*shape)
    before = model(x)
    edits = insert_(model, x, position=position, preserve=True)
    torch.testing.assert_close(model(x), before)
    assert all(edit.error is not None and edit.error < 1e-5 for edit in edits)
    model.train()(x)  # and it does normalize where it trains
    assert not torch.allclose(model(x), before, rtol=1e-2)


def test_a_norm_behind_a_norm_is_refused_before_and_made_after_the_nonlinearity() -> None:
    model, x = LeNet(), seeded(16, 1, 28, 28)
    insert_(model, x)
    with pytest.warns(NoEffectWarning, match=r"'conv1.norm' normalizes it already"):
        insert_(model, x)
    assert len(insert_(model, x, position="after").applied) == 3


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_from_before_loads_and_means_the_same(name: str, position: str) -> None:
    """Into a norm that is the identity in eval, other weights of the same model load as what they were."""
    make, shape = MODELS[name]
    model, x = make().eval(), seeded(*shape)
    other = copy.deepcopy(model)
    trained(other, x)
    insert_(model, x, position=position, preserve=True)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model(x), other.eval()(x), rtol=1e-4, atol=1e-5)
    fresh = make()
    insert_(fresh, x, position=position)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.eval()(x), model(x), rtol=0, atol=0)


def test_undo_takes_the_migration_of_keys_back() -> None:
    model = LeNet()
    keys = list(model.state_dict())
    insert_(model, seeded(16, 1, 28, 28)).undo()
    assert list(model.state_dict()) == keys
    model.load_state_dict(LeNet().state_dict())


def test_the_optimizer_gets_the_norm_where_the_bias_was_and_keeps_the_moments_of_the_others() -> None:
    x = seeded(32, 4)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    decayed = [p for name, p in model.named_parameters() if "weight" in name]
    others = [p for name, p in model.named_parameters() if "bias" in name]
    optimizer = torch.optim.AdamW([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
    model(x).square().mean().backward()
    optimizer.step()
    before = [list(group["params"]) for group in optimizer.param_groups]
    states = {p: {key: value.clone() for key, value in state.items()} for p, state in optimizer.state.items()}
    bias = model[0].bias
    edits = insert_(model, x, optimizer=optimizer)
    norm = model[1]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(model[3].bias), id(norm.weight), id(norm.bias)}
    assert bias not in optimizer.state
    assert all(optimizer.state[p]["exp_avg"].equal(states[p]["exp_avg"]) for p in decayed)
    model(x).square().mean().backward()
    optimizer.step()
    assert norm.weight in optimizer.state
    edits.undo()
    assert all(
        all(p is q for p, q in zip(group["params"], old, strict=True))
        for group, old in zip(optimizer.param_groups, before, strict=True)
    )
    assert set(optimizer.state) == set(states)


def test_a_bias_that_another_layer_has_too_stays_with_the_optimizer() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].bias = model[0].bias
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    insert_(model, seeded(16, 4), optimizer=optimizer)
    assert model[0].bias is None
    assert any(p is model[3].bias for p in optimizer.param_groups[0]["params"])


@pytest.mark.parametrize("position", ["before", "after"])
def test_what_folding_is_said_to_cost_is_what_fold_does(position: str) -> None:
    model, x = LeNet().double(), seeded(16, 1, 28, 28).double()
    edits = insert_(model, x, position=position)
    folded = fold_(model.eval(), x)
    for edit, fold in zip(edits, folded, strict=True):
        if fold.applied:
            assert fold.action.removeprefix("fold into ") in edit.reason.rpartition("folds ")[2]
        else:
            assert edit.reason.endswith(fold.reason)


def test_the_norm_has_the_layout_of_its_signal() -> None:
    def kind_in(model: nn.Module, *shape: int, kind: str) -> type[nn.Module]:
        insert_(model, seeded(*shape), kind=kind)
        return type(norms_in(model)[0])

    def table() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU())

    def image() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU())

    assert [kind_in(table(), 9, 6, kind=kind) for kind in ("layer", "rms", "group")] == [
        nn.LayerNorm,
        nn.RMSNorm,
        nn.GroupNorm,
    ]
    assert kind_in(table(), 9, 5, 6, kind="group") is GroupNormLast
    assert [kind_in(image(), 2, 2, 5, 5, kind=kind) for kind in ("layer", "rms", "group")] == [
        ChannelLayerNorm,
        ChannelRMSNorm,
        nn.GroupNorm,
    ]


def test_groups_divide_the_channels() -> None:
    model = nn.Sequential(nn.Conv2d(2, 12, 3), nn.ReLU())
    insert_(model, seeded(2, 2, 5, 5), kind="group", num_groups=8)
    assert norms_in(model)[0].num_groups == 6


def test_statistics_are_those_of_all_batches() -> None:
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Tanh())
    x = seeded(50, 4)
    insert_(model, list(x.split(7)))
    signal = model[0](x)
    torch.testing.assert_close(model[1].running_mean, signal.mean(0))
    torch.testing.assert_close(model[1].running_var, signal.var(0))


def test_an_iterator_is_drawn_from_once_and_no_further_than_needed() -> None:
    drawn = []

    def endless() -> object:
        while True:
            drawn.append(1)
            yield seeded(4096, 4)

    insert_(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), endless())
    assert len(drawn) == 3  # 10 000 samples are enough


def test_a_model_with_a_fast_way_past_its_modules_is_refused() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    for model in (layer, copy.deepcopy(layer).eval()):
        before = fingerprint(model)
        with pytest.warns(NoEffectWarning, match="in eval mode the model goes another way"):
            insert_(model, seeded(8, 5, 16))
        assert fingerprint(model) == before


def test_a_model_with_a_norm_in_its_forward_compiles_in_one_graph_and_exports() -> None:
    model, x = OwnWeights(), seeded(32, 4)
    insert_(model, x, position="after")
    expected = model.eval()(x)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


def test_an_in_place_function_whose_result_is_not_used_is_refused() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.fc(x)
            torch.relu_(x)
            return x * 2

    with pytest.warns(NoEffectWarning, match="past the place"):
        insert_(InPlace(), seeded(16, 4), position="after")


def test_nan_in_the_data_gives_the_seat_back_and_the_others_stay() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Sequential(nn.Linear(4, 8), nn.Tanh())

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.one(a) + self.two(b)

    model, bad = Two(), seeded(16, 4)
    bad[3, 1] = torch.nan
    edits = insert_(model, (seeded(16, 4), bad, None))
    assert [edit.layer for edit in edits.applied] == ["one.0"]
    assert "NaN" in edits.refused[0].reason
    assert len(model.two) == 2
    assert model.two[0].bias is not None


def test_half_precision_keeps_statistics_in_float32() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).bfloat16()
    insert_(model, seeded(32, 4).bfloat16())
    assert model[1].running_var.dtype == torch.float32
    assert model(seeded(32, 4).bfloat16()).dtype == torch.bfloat16


def test_softmax_and_arithmetic_get_a_norm_only_when_asked_for() -> None:
    class Variational(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_variance = nn.Linear(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.log_variance(x).exp()

    with pytest.warns(NoEffectWarning):
        insert_(Variational(), seeded(16, 4))
    assert insert_(Variational(), seeded(16, 4), layers=["log_variance"]).applied
    with pytest.warns(NoEffectWarning):
        insert_(nn.Sequential(nn.Linear(4, 8), nn.Softmax(-1)), seeded(16, 4))


def test_a_failure_in_a_later_batch_leaves_the_model_as_it_was() -> None:
    model = LeNet()
    before = fingerprint(model)
    with pytest.raises(Exception, match="batch 1"):
        insert_(model, [seeded(8, 1, 28, 28), seeded(8, 2, 28, 28)])
    assert fingerprint(model) == before


def test_a_sample_norm_cannot_be_the_identity() -> None:
    with pytest.raises(ConfigError, match="preserve=True needs kind='batch'"):
        insert_(LeNet(), seeded(4, 1, 28, 28), kind="layer", preserve=True)
    with pytest.raises(ConfigError, match="kind must be one of batch, layer, rms, group"):
        insert_(LeNet(), seeded(4, 1, 28, 28), kind="spectral")


@pytest.mark.parametrize("kind", ["batch", "layer", "rms", "group"])
@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Conv2d(3, 8, 3), (3, 9, 9)), (nn.Conv1d(3, 8, 3), (3, 9)), (nn.Linear(6, 8), (6,))]
)
def test_a_single_sample_without_an_axis_of_samples_is_refused(
    kind: Any, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    """Convolutions take (C, H, W) too, and then axis 1 is no channel."""
    model = nn.Sequential(copy.deepcopy(layer), nn.ReLU())
    with pytest.warns(NoEffectWarning, match="no axis of samples"):
        insert_(model, seeded(*shape), kind=kind)


def test_a_first_batch_of_one_row_is_fine() -> None:
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), seeded(9, 6)
    expected = model[0](x).detach()
    (edit,) = insert_(model, list(x.split([1, 5, 3])))
    assert edit.applied
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm1d)
    torch.testing.assert_close(norm.running_var, expected.var(0))


def test_a_copy_of_a_wrapped_layer_has_its_norm_whatever_the_layer_says_of_copies() -> None:
    """A parametrized layer has a `__deepcopy__` of its own."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = parametrizations.weight_norm(nn.Linear(6, 8)), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(torch.relu(self.up(x)))

    model = Normed()
    assert len(insert_(model, seeded(32, 6)).applied) == 1
    twin = copy.deepcopy(model)
    assert len(norms_in(twin)) == 1
    assert torch.equal(twin.eval()(seeded(4, 6)), model.eval()(seeded(4, 6)))

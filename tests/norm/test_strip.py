"""A bias before a BatchNorm does nothing, and only such a one is removed."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, BatchRenorm, GhostBatchNorm, RenormLimits, freeze_, strip_biases_


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def warmed_up(model: nn.Module, x: torch.Tensor) -> nn.Module:
    """With biases that matter and running statistics that have seen data."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.train()
    for _ in range(3):
        model(x)
    return model


class Chain(nn.Module):
    """`layer`, then `between`, then a norm, then whatever makes the difference visible."""

    def __init__(self, layer: nn.Module, between: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer, self.between, self.norm = layer, between, norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(self.between(self.layer(x))))


IMAGE = seeded(8, 3, 10, 10)

CANCELED = {
    "linear": (Chain(nn.Linear(5, 4), nn.Identity(), nn.BatchNorm1d(4)), seeded(32, 5)),
    "conv1d": (Chain(nn.Conv1d(3, 4, 3, padding=1), nn.Identity(), nn.BatchNorm1d(4)), seeded(8, 3, 12)),
    "conv2d": (Chain(nn.Conv2d(3, 4, 3, padding=1), nn.Identity(), nn.BatchNorm2d(4)), IMAGE),
    "conv3d": (Chain(nn.Conv3d(2, 4, 3), nn.Identity(), nn.BatchNorm3d(4)), seeded(4, 2, 5, 5, 5)),
    "transposed": (Chain(nn.ConvTranspose2d(3, 4, 4, 2), nn.Identity(), nn.BatchNorm2d(4)), IMAGE),
    "max pool": (Chain(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4)), IMAGE),
    "average pool": (Chain(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.BatchNorm2d(4)), IMAGE),
    "reflect pad": (Chain(nn.Conv2d(3, 4, 3), nn.ReflectionPad2d(1), nn.BatchNorm2d(4)), IMAGE),
    "idle dropout": (Chain(nn.Linear(5, 4), nn.Dropout(0.0), nn.BatchNorm1d(4)), seeded(32, 5)),
    "no statistics": (
        Chain(nn.Linear(5, 4), nn.Identity(), nn.BatchNorm1d(4, track_running_stats=False)),
        seeded(32, 5),
    ),
}

AT_WORK = {
    "zero pad": Chain(nn.Conv2d(3, 4, 3), nn.ZeroPad2d(1), nn.BatchNorm2d(4)),
    "relu": Chain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    "dropout": Chain(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.BatchNorm2d(4)),
    "padded average pool": Chain(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, padding=1), nn.BatchNorm2d(4)),
}


@pytest.mark.parametrize("name", CANCELED)
def test_a_bias_that_a_norm_cancels_is_removed_and_neither_mode_changes(name: str) -> None:
    model, x = CANCELED[name]
    model = warmed_up(model, x)
    expected = [copy.deepcopy(model).train(training)(x) for training in (True, False)]
    (edit,) = strip_biases_(model, x)
    assert model.layer.bias is None
    assert edit.error is not None
    assert edit.error <= 1e-6
    for training, output in zip((True, False), expected, strict=True):
        torch.testing.assert_close(copy.deepcopy(model).train(training)(x), output)


@pytest.mark.parametrize("name", AT_WORK)
def test_a_bias_that_something_sees_stays(name: str) -> None:
    model = warmed_up(AT_WORK[name], IMAGE)
    before = fingerprint(model)
    with pytest.warns(NoEffectWarning):
        edits = strip_biases_(model, IMAGE)
    assert [edit.applied for edit in edits] in ([False], [])
    assert fingerprint(model) == before


def test_a_frozen_norm_does_not_cancel_the_bias_before_it() -> None:
    model = warmed_up(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), seeded(32, 5))
    model[1].eval()
    with pytest.warns(NoEffectWarning):
        (edit,) = strip_biases_(model, seeded(32, 5))
    assert "does not cancel" in edit.reason


def test_a_later_gamma_of_zero_does_not_hide_a_bias_at_work() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    nn.init.zeros_(model[2].weight)
    with pytest.warns(NoEffectWarning):
        (edit,) = strip_biases_(model, seeded(64, 5))
    assert not edit.applied


def test_a_second_reader_of_the_output_keeps_the_bias() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x)
            return self.norm(y) + y

    with pytest.warns(NoEffectWarning):
        (edit,) = strip_biases_(Skip(), seeded(16, 4))
    assert "read elsewhere" in edit.reason


def test_without_the_correction_of_running_mean_eval_would_move_by_the_bias() -> None:
    x = seeded(64, 5)
    model = warmed_up(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), x).eval()
    expected, bias, mean = model(x), model[0].bias.detach().clone(), model[1].running_mean.clone()
    strip_biases_(model, x)
    torch.testing.assert_close(model[1].running_mean, mean - bias)
    torch.testing.assert_close(model(x), expected)
    assert not model.training


def test_the_optimizer_forgets_the_bias_and_gets_it_back_with_undo() -> None:
    x = seeded(64, 5)
    model = warmed_up(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)), x)
    optimizer = torch.optim.Adam(model.parameters())
    model(x).square().mean().backward()
    optimizer.step()
    bias, order = model[0].bias, list(map(id, optimizer.param_groups[0]["params"]))
    before = fingerprint(model)
    edits = strip_biases_(model, x, optimizer=optimizer)
    assert bias not in optimizer.state
    assert id(bias) not in map(id, optimizer.param_groups[0]["params"])
    edits.undo()
    assert fingerprint(model) == before
    assert list(map(id, optimizer.param_groups[0]["params"])) == order
    assert bias in optimizer.state


def test_a_frozen_norm_of_freeze_and_one_in_eval_mode_keep_the_bias() -> None:
    for hold in (freeze_, lambda norm: norm.eval()):
        model = warmed_up(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()), seeded(32, 5))
        hold(model[1])
        with pytest.warns(NoEffectWarning):
            (edit,) = strip_biases_(model, seeded(32, 5))
        assert not edit.applied
        assert model[0].bias is not None


class Nested(nn.Module):
    """Layer and norm in different parts of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"fc": nn.Linear(5, 4), "norms": nn.ModuleList([nn.BatchNorm1d(4)])})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body["norms"][0](self.body["fc"](x)).relu()


@pytest.mark.parametrize("make", [Nested, lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU())])
def test_a_checkpoint_with_the_bias_loads_and_computes_what_it_computed(make: Callable[[], nn.Module]) -> None:
    x = seeded(64, 5)
    model, other = make(), warmed_up(make(), x)
    saved = {key: value.clone() for key, value in other.state_dict().items()}
    edits = strip_biases_(model, x)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model.eval()(x), other.eval()(x))
    assert all(value.equal(saved[key]) for key, value in other.state_dict().items())  # the checkpoint is as it was
    model.load_state_dict(copy.deepcopy(model).state_dict())  # and one without the bias loads as it is
    torch.testing.assert_close(model(x), other(x))
    edits.undo()
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(x), other(x))


def test_one_part_of_a_checkpoint_loads_into_its_part_of_the_model() -> None:
    x = seeded(64, 5)
    model, other = Nested(), warmed_up(Nested(), x)
    strip_biases_(model, x)
    model.body.load_state_dict(other.body.state_dict())
    torch.testing.assert_close(model.eval()(x), other.eval()(x))


def test_adam_moves_a_canceled_bias_by_whole_steps_and_sgd_does_not() -> None:
    """The gradient is rounding; Adam divides it by its own size, so a step is up to lr long whatever the gradient."""

    def drift(make: Callable[..., torch.optim.Optimizer], lr: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
        optimizer = make(model.parameters(), lr=lr)
        x, y, start = seeded(512, 20), seeded(512, 1), model[0].bias.detach().clone()
        for step in range(100):
            rows = slice(64 * (step % 8), 64 * (step % 8) + 64)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        return (model[0].bias.detach() - start).abs().mean().item()

    with torch.random.fork_rng():
        # A hundred float32 gradients of rounding size, 2^-24 of gradients of order one, times the rate.
        assert drift(torch.optim.SGD, 5e-2) < 100 * 5e-2 * 2**-20
        assert drift(torch.optim.Adam, 1e-2) > 1e-2  # more than one whole step away


def test_the_gradient_of_a_canceled_bias_is_rounding() -> None:
    x, y = seeded(128, 5), seeded(128, 1)
    model = warmed_up(nn.Sequential(nn.Linear(5, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 1)), x)
    nn.functional.mse_loss(model(x), y).backward()
    # 128 float32 terms that cancel exactly in theory: each is off by up to one rounding of 2^-24.
    assert model[0].bias.grad.abs().max() <= 128 * 2**-24 * model[0].weight.grad.abs().max()


def test_a_tied_bias_leaves_every_layer_whose_norm_cancels_it_and_then_the_optimizer() -> None:
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.bias = first.bias
    model = nn.Sequential(first, nn.BatchNorm1d(6), nn.ReLU(), second, nn.BatchNorm1d(6))
    optimizer, bias = torch.optim.Adam(model.parameters()), first.bias
    edits = strip_biases_(model, seeded(32, 6), optimizer=optimizer)
    assert [edit.layer for edit in edits.applied] == ["0", "3"]
    assert not any(known is bias for known in optimizer.param_groups[0]["params"])
    edits.undo()
    assert first.bias is bias
    assert second.bias is bias
    assert sum(known is bias for known in optimizer.param_groups[0]["params"]) == 1


@pytest.mark.parametrize(("norm", "shape"), [(GhostBatchNorm(8, ghost_size=8), (32, 6)), (BatchNormLast(8), (8, 5, 6))])
def test_a_norm_of_several_calls_cancels_a_bias_too(norm: nn.Module, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Linear(6, 8), copy.deepcopy(norm))
    (edit,) = strip_biases_(model, seeded(*shape))
    assert edit.applied
    assert edit.error is not None
    assert edit.error < 1e-5


def test_renormalization_keeps_what_a_bias_moves() -> None:
    """d is the distance of the batch from the running mean, so the bias is seen."""
    limits = RenormLimits(warmup=0, r_full=0, d_full=0)
    model = nn.Sequential(nn.Linear(6, 8), BatchRenorm(8, limits=limits))
    with pytest.warns(NoEffectWarning):
        (edit,) = strip_biases_(model, seeded(32, 6))
    assert "does not cancel it" in edit.reason

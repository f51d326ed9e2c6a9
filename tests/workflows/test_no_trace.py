"""Every public function that looks at a model leaves it bit for bit as it was, random state included, also on failure.

And the models that break other tools, each named after the report of it.
"""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import onesigma
from onesigma.measure import contrasted
from onesigma.model.batches import first_batch
from onesigma.model.state import fingerprint

X = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 3


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def network(*, raising: bool = False, error: type[BaseException] = RuntimeError) -> nn.Module:
    """Statistics, dropout, an accumulated gradient, a hook, a frozen part, and on request an error in the middle."""

    class Part(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if raising:
                torch.rand(3)
                np.random.rand(3)
                raise error("in the middle")
            return x

    def build() -> nn.Module:
        spectral = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(32, 32))
        norm = nn.BatchNorm1d(32)
        model = nn.Sequential(nn.Linear(10, 32), norm, nn.ReLU(inplace=True), spectral, nn.Dropout(0.5), Part())
        model.append(nn.Linear(32, 3))
        model[0].bias.requires_grad_(False)
        model[6].register_forward_hook(lambda module, args, output: None)
        model[6].weight.grad = torch.ones_like(model[6].weight)
        model[1].eval()
        return model

    return seeded(build)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1)


def _contrasted(model: nn.Module) -> Any:
    trace = onesigma.measure(model, (X, Y), loss="cross_entropy")
    return contrasted(trace, model, first_batch((X, Y)), loss="cross_entropy")


LOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "measure": lambda model: onesigma.measure(model, (X, Y), loss="cross_entropy"),
    "measure without a loss": lambda model: onesigma.measure(model, X),
    "contrasted": _contrasted,
    "check": lambda model: onesigma.check(model, (X, Y), loss="cross_entropy"),
    "check of several batches": lambda model: onesigma.check(model, [(X, Y), (X, Y)], loss="cross_entropy"),
    "check with steps": lambda model: onesigma.check(model, (X, Y), loss="cross_entropy", optimizer=adam, steps=3),
    "norm.gap": lambda model: onesigma.norm.gap(model, (X, Y), loss=F.cross_entropy),
    "norm.coupling": lambda model: onesigma.norm.coupling(model, X),
    "check of the state": lambda model: onesigma.check(model.state_dict()),
}


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("name", LOOKS)
def test_looking_at_a_model_leaves_no_trace(name: str, is_training: bool) -> None:
    model = network()
    model.train(is_training)
    before = fingerprint(model)
    LOOKS[name](model)
    assert fingerprint(model) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("name", [name for name in LOOKS if "state" not in name])
def test_also_where_the_model_raises_or_is_interrupted(name: str, error: type[BaseException]) -> None:
    model = network(raising=True, error=error)
    before = fingerprint(model)
    with pytest.raises((error, onesigma.CaptureError)):
        LOOKS[name](model)
    assert fingerprint(model) == before


def test_the_batch_is_left_alone_too() -> None:
    class Writes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(2)

    x = X.clone()
    onesigma.check(Writes(), x)
    assert torch.equal(x, X)


# Issues of other tools, by repository and number.


def test_pytorch_summary_67_a_look_does_not_update_running_statistics() -> None:
    model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8))
    onesigma.check(model, X)
    assert int(model[1].num_batches_tracked) == 0


def test_pytorch_61519_an_in_place_relu_is_measured_before_and_after() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)))
    linear, relu, *_ = onesigma.measure(model, (X, Y), loss="cross_entropy").records
    assert linear.output is not None
    assert linear.output.minimum < 0
    assert relu.output is not None
    assert relu.output.minimum == 0
    assert relu.gradient is not None


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(10, 10), nn.Linear(10, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        x += self.two(F.relu(x))
        return x


def test_shap_3565_a_residual_added_in_place_has_gradients() -> None:
    trace = onesigma.measure(seeded(Residual), (X, X), loss="mse")
    assert [record.op for record in trace.of_kind("join")] == ["add"]
    assert all(record.gradient is not None for record in trace.of_kind("linear"))


def test_mup_a_module_that_runs_twice_is_two_records() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(10, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.tanh(self.layer(x)))

    assert [record.call for record in onesigma.measure(seeded(Twice), X).of_kind("linear")] == [0, 1]


def test_fastai_2398_tuples_and_none_among_the_outputs() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(10, 3)

        def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
            return None, (self.layer(x), {"extra": None})

    report = onesigma.check(seeded(Odd), (X, Y), loss=lambda output, y: F.cross_entropy(output[1][0], y))
    assert report.trace.loss is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_colorfuldim_2_half_precision_is_summed_in_full(dtype: torch.dtype) -> None:
    model = nn.Linear(10, 8).to(dtype)
    (linear,) = onesigma.measure(model, 100 * torch.ones(60_000, 10, dtype=dtype)).of_kind("linear")
    assert linear.output is not None
    assert np.isfinite(linear.output.rms)


def test_smdebug_184_a_frozen_embedding_needs_no_gradient() -> None:
    model = seeded(lambda: nn.Sequential(nn.Embedding(20, 8).requires_grad_(False), nn.Flatten(), nn.Linear(40, 3)))
    report = onesigma.check(model, (torch.randint(0, 20, (64, 5)), Y), loss="cross_entropy")
    assert report.trace.parameter("0.weight").gradient is None  # type: ignore[union-attr]


def test_wandb_1819_wrappers_are_looked_through() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)))
    # Wrapped, not compiled: what is compiled would run without hooks (pytorch 117758).
    plain, *wrapped = (onesigma.measure(each, X) for each in (model, nn.DataParallel(model), torch.compile(model)))
    assert all(trace.records == plain.records for trace in wrapped)


def test_pytorch_31855_nan_is_counted_not_raised() -> None:
    model = nn.Sequential(nn.Linear(10, 8), nn.ReLU())
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    report = onesigma.check(model, X)
    assert "NUM901" in {finding.code for finding in report.findings}
    assert report.to_html()
    assert report.to_text()


def test_wandb_10100_an_accumulated_gradient_is_neither_read_nor_lost() -> None:
    model = seeded(lambda: nn.Linear(10, 3))
    model.weight.grad = torch.full_like(model.weight, 1e6)
    weight = onesigma.measure(model, (X, Y), loss="cross_entropy").parameter("weight")
    assert weight is not None
    assert weight.gradient is not None
    assert weight.gradient.maximum < 1
    assert torch.equal(model.weight.grad, torch.full_like(model.weight, 1e6))


def test_grad_cam_183_outputs_without_a_gradient_do_no_harm() -> None:
    class Indices(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(10, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.layer(x)
            return logits, logits.argmax(1)

    onesigma.check(seeded(Indices), (X, Y), loss=lambda output, y: F.cross_entropy(output[0], y))


def test_opensoundscape_675_forward_called_by_hand_is_seen() -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(10, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer.forward(x)

    assert len(list(onesigma.measure(seeded(ByHand), X).of_kind("linear"))) == 1


WITH_LOADERS: dict[str, Callable[[nn.Module, DataLoader], object]] = {
    "check": lambda model, loader: onesigma.check(model, loader, loss="cross_entropy"),
    "check of steps": lambda model, loader: onesigma.check(
        model, loader, loss="cross_entropy", optimizer=lambda found: torch.optim.SGD(found, lr=0.1), steps=2
    ),
    "measure": lambda model, loader: onesigma.measure(model, loader, loss="cross_entropy"),
    "predict": onesigma.predict,
    "initialize_": onesigma.initialize_,
    "repair": lambda model, loader: onesigma.repair(model, loader, loss="cross_entropy"),
    "fold_": lambda model, loader: onesigma.norm.fold_(model.eval(), loader),
    "calibrate_": onesigma.norm.calibrate_,
}


@pytest.mark.parametrize("name", WITH_LOADERS)
@pytest.mark.filterwarnings("ignore::onesigma.OnesigmaWarning")
def test_a_loader_that_shuffles_does_not_move_the_callers_random_numbers(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(64, 5, generator=generator), torch.randint(0, 3, (64,), generator=generator)
    loader = DataLoader(TensorDataset(rows, labels), batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    WITH_LOADERS[name](model, loader)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tobytes())

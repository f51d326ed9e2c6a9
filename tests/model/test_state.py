"""Leave no trace: after `preserved` a model is bit for bit what it was."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from onesigma._errors import ModelError
from onesigma.model import state
from onesigma.model.state import fingerprint, preserved


class Reckless(nn.Module):
    """Writes to everything it owns while it runs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(2))
        self.calls = 0

    def forward(self, x):
        self.layer.weight.data.clamp_(-0.01, 0.01)
        with torch.no_grad():
            self.layer.bias[0] = 7.0
            self.layer.weight.T.mul_(2)
        self.steps += 1
        self.replaced = torch.ones(2)
        self.calls += 1
        self.cache = x
        self.layer.bias.requires_grad_(False)
        self.norm.eval()
        self.layer.register_forward_hook(lambda *_: None)
        return self.norm(self.layer(x) + torch.rand(3) + random.random() + np.random.rand())


def run(model, *shape):
    torch.manual_seed(3)
    model(torch.randn(*shape)).sum().backward()


MODELS = {
    "writes to itself": (Reckless, (4, 3)),
    "batch norm and dropout": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 2)), (4, 3)),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(3, 2)), (4, 3)),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(3, 2)), (4, 3)),
    "half precision": (lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(torch.bfloat16).float(), (4, 3)),
    "lstm": (lambda: _First(nn.LSTM(3, 2, dropout=0.5, num_layers=2)), (4, 3)),
}


class _First(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0]


@pytest.fixture(params=[True, False], ids=["copied up front", "copied before writing"])
def eager(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(state, "_EAGER_BYTES", -1)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", MODELS)
def test_a_forward_and_a_backward_pass_leave_no_trace(name):
    build, shape = MODELS[name]
    model = build()
    before = fingerprint(model)
    attributes = {module: set(vars(module)) for module in model.modules()}
    with preserved(model):
        run(model, *shape)
        assert any(parameter.grad is not None for parameter in model.parameters())
    assert fingerprint(model) == before
    assert attributes == {module: set(vars(module)) for module in model.modules()}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_body_raises(error):
    model = Reckless()
    before = fingerprint(model)

    def interrupted():
        with preserved(model):
            run(model, 4, 3)
            raise error

    with pytest.raises(error):
        interrupted()
    assert fingerprint(model) == before


def test_accumulated_gradients_are_hidden_and_come_back_as_the_same_tensors():
    model = nn.Linear(3, 2)
    run(model, 4, 3)
    gradients = [(parameter.grad, parameter.grad.clone()) for parameter in model.parameters()]
    with preserved(model):
        assert all(parameter.grad is None for parameter in model.parameters())
        run(model, 4, 3)
    for parameter, (gradient, values) in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert torch.equal(gradient, values)


@pytest.mark.usefixtures("eager")
def test_training_for_a_step_is_undone():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = fingerprint(model)
    with preserved(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        run(model, 4, 3)
        optimizer.step()
        assert not torch.equal(model[1].weight, torch.ones(3))
    assert fingerprint(model) == before


def test_parameters_may_be_kept_as_the_body_made_them():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with preserved(model, parameters=False), torch.no_grad():
        model[0].weight.fill_(2.0)
        model(torch.randn(4, 3))
    assert torch.equal(model[0].weight, torch.full((3, 3), 2.0))
    assert torch.equal(model[1].running_mean, torch.zeros(3))


def test_nan_parameters_come_back_with_their_bits():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    before = fingerprint(model)
    with preserved(model):
        model.weight.data.zero_()
    assert fingerprint(model) == before


def test_a_tied_parameter_stays_tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with preserved(model):
        run(model, 4, 3)
    assert model[1].weight is model[0].weight


def test_a_graph_that_the_user_holds_stays_valid():
    model = nn.Linear(3, 2)
    loss = model(torch.ones(1, 3, requires_grad=True)).square().sum()
    with preserved(model):
        run(model, 4, 3)
    loss.backward()
    assert model.weight.grad is not None


def test_the_grad_mode_comes_back():
    with preserved(nn.Linear(1, 1)):
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()


def test_a_lazy_model_is_refused_with_what_to_do():
    with pytest.raises(ModelError, match="run one batch"), preserved(nn.LazyLinear(3)):
        pass


def test_a_large_model_is_not_copied_when_it_is_only_read(monkeypatch):
    monkeypatch.setattr(state, "_EAGER_BYTES", -1)
    copies = []
    copy = state._Saved.copy
    monkeypatch.setattr(state._Saved, "copy", lambda self: (copies.append(self.tensor), copy(self))[1])
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    with preserved(model):
        run(model, 4, 3)
    with preserved(embedding := nn.Embedding(5, 3)):
        embedding(torch.arange(5))
    assert not copies


def test_a_large_embedding_that_renormalizes_its_rows_is_copied_and_put_back(monkeypatch):
    monkeypatch.setattr(state, "_EAGER_BYTES", -1)
    embedding = nn.Embedding(5, 3, max_norm=0.1)
    before = embedding.weight.detach().clone()
    with preserved(embedding):
        embedding(torch.arange(5))
        assert not torch.equal(embedding.weight, before)
    assert torch.equal(embedding.weight, before)

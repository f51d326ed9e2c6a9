"""`check`: measured, judged, and nothing of the model changed; `steps` trains a copy."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from onesigma._errors import CaptureError, ConfigError
from onesigma.model.state import fingerprint
from onesigma.workflows.check import check

X = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
Y = torch.arange(256) % 3


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(10, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))


def adam(lr: float):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


@pytest.mark.parametrize("steps", [0, 5])
def test_the_model_and_all_random_state_are_left_bit_for_bit(steps: int) -> None:
    model = network()
    model(X).sum().backward()
    before = fingerprint(model)
    check(model, (X, Y), loss="cross_entropy", optimizer=adam(1e-2), steps=steps)
    assert fingerprint(model) == before


def test_also_when_the_loss_raises() -> None:
    model = network()
    before = fingerprint(model)
    with pytest.raises(CaptureError, match="the loss raised"):
        check(model, (X, Y), loss=lambda output, targets: output @ output)
    assert fingerprint(model) == before


def test_steps_add_the_size_of_updates() -> None:
    report = check(network(), (X, Y), loss="cross_entropy", optimizer=adam(1e-3), steps=10)
    weight = report.trace.parameter("0.weight")
    assert weight is not None
    assert weight.num_updates == 10
    # Adam's first steps move every weight by about lr; torch draws U(±1/√10), whose std is 1/√30.
    assert weight.update_ratio == pytest.approx(1e-3 * 30**0.5, rel=0.5)


def test_a_learning_rate_that_kills_units_is_told_as_of_after_the_training() -> None:
    report = check(network(), (X, Y), loss="cross_entropy", optimizer=adam(1.0), steps=20)
    assert any(finding.code == "ACT302" and "After 20 steps" in finding.message for finding in report.findings)


def test_a_data_loader_is_read_as_far_as_needed() -> None:
    drawn = []

    class Rows(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            drawn.append(index)
            return super().__getitem__(index)

    check(network(), DataLoader(Rows(X, Y), batch_size=32), loss="cross_entropy")
    assert len(drawn) <= 64


def test_selected_rules_alone_are_judged_and_limits_are_the_callers() -> None:
    loud = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 3))
    with torch.no_grad():
        loud[0].weight.mul_(10)
    codes = {finding.code for finding in check(loud, X, select=["INI"]).findings}
    assert codes == {"INI201"}
    assert check(loud, X, select=["INI"], ignore=["INI:0"]).findings == ()
    assert check(loud, X, select=["INI201"], limits={"INI201": 1e9}).findings == ()


def test_steps_without_an_optimizer_or_a_loss_are_refused() -> None:
    with pytest.raises(ConfigError, match="optimizer=lambda params"):
        check(network(), (X, Y), loss="cross_entropy", steps=3)
    with pytest.raises(ConfigError, match="needs a loss"):
        check(network(), X, optimizer=adam(1e-3), steps=3)

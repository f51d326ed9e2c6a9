"""`repair`: a step stays only if it helped, and the model that came in is as it was."""

import pytest
import torch
from sklearn.datasets import load_wine
from torch import nn

import onesigma
from onesigma.model.state import fingerprint
from onesigma.workflows.check import check_table
from onesigma.workflows.problem import Problem, problem_from_arrays
from onesigma.workflows.repair import repair
from onesigma.workflows.training import accuracy, train


def wine() -> Problem:
    bunch = load_wine()
    return problem_from_arrays(bunch.data, bunch.target, names=tuple(bunch.feature_names), target="cultivar")


def tanh_stack(*, depth: int = 20, width: int = 64) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        widths = [13] + [width] * depth
        hidden = [part for i in range(depth) for part in (nn.Linear(widths[i], widths[i + 1]), nn.Tanh())]
        return nn.Sequential(*hidden, nn.Linear(width, 3))


def linear_stds(report) -> list[float]:
    return [record.output.std for record in report.trace.of_kind("linear")]


def test_twenty_tanh_layers_on_wine_go_from_saturated_to_unit_scale() -> None:
    model = tanh_stack()
    before = fingerprint(model)
    repaired = repair(model, wine())
    assert fingerprint(model) == before
    first = next(iter(repaired.report.before.trace.of_kind("tanh")))
    assert linear_stds(repaired.report.before)[-2] < 0.1 or first.activity.saturated > 0.5
    assert len(linear_stds(repaired.report)) == 21
    assert all(0.99 <= std <= 1.01 for std in linear_stds(repaired.report))
    assert repaired.report.exit_code == 0


def test_the_repair_is_reproducible() -> None:
    one, other = (repair(tanh_stack(), wine(), seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
    assert one.scaler.fingerprint == other.scaler.fingerprint


def test_a_network_that_is_fine_on_its_own_inputs_keeps_its_weights() -> None:
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    train(model, repair(model, wine()).inputs(wine()), steps=100)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    repaired = repair(model, wine())
    assert repaired.scaler is not None
    assert all(torch.equal(a, b) for a, b in zip(repaired.model.parameters(), weights, strict=True))
    assert accuracy(repaired.model, repaired.inputs(wine())) > 0.9


def test_asked_for_norms_come_with_their_biases_gone() -> None:
    repaired = repair(tanh_stack(depth=3), wine(), norm="before")
    norms = [module for module in repaired.model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(norms) == 3
    assert repaired.model[0].bias is None
    assert not [finding for finding in repaired.report.findings if finding.code == "NRM601"]


def test_redundant_biases_are_stripped_only_if_asked_for() -> None:
    model = nn.Sequential(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    assert any(finding.code == "NRM601" for finding in repair(model, wine()).report.findings)
    stripped = repair(model, wine(), strip=True)
    assert stripped.model[0].bias is None
    assert not any(finding.code == "NRM601" for finding in stripped.report.findings)


def test_a_table_without_a_target_is_checked_without_gradients() -> None:
    bunch = load_wine()
    problem = problem_from_arrays(bunch.data, None, names=tuple(bunch.feature_names))
    report = check_table(tanh_stack(depth=2), problem)
    assert report.trace.loss is None
    assert all(record.gradient is None for record in report.trace.records)


TABLE = 300 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def images(scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.rand(64, 3, 12, 12, generator=generator), torch.arange(64) % 5


def convolutions() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1600, 5))


def test_batches_of_images_are_standardized_by_channel_and_whole_takes_them_as_they_came() -> None:
    x, y = images(255.0)
    done = repair(convolutions(), (x, y), loss="cross_entropy")
    assert len(done.scaler.columns_) == 3
    assert done.report.edits.applied[0].action == "standardize 3 channels"
    assert "to_module(axis=1)" in done.report.to_text()
    torch.testing.assert_close(done.whole(x), done.model(done.scaler.to_module(axis=1)(x)))
    assert done.report.exit_code == 0


@pytest.mark.parametrize("inputs", [(TABLE, TABLE), TABLE[:, 0]])
def test_inputs_that_cannot_be_standardized_are_left_and_the_edit_says_so(inputs) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

        def forward(self, x, other=None):
            return self.layers(x if x.dim() == 2 else x[:, None].expand(-1, 4))

    done = repair(Net(), (inputs, torch.arange(64) % 2), loss="cross_entropy", select=["INP"])
    assert done.scaler is None
    (refused,) = (edit for edit in done.report.edits if edit.action == "standardize the inputs")
    assert "scale it in the data" in refused.reason or "standardize each" in refused.reason


def test_standardized_inputs_that_do_not_help_are_taken_back_with_words() -> None:
    class Fixed(nn.Module):
        """Suited to raw inputs by constants that no initialization draws."""

        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(1)
            self.register_buffer("mix", torch.randn(64, 8, generator=generator) / 8**0.5 / 1000)
            self.head = nn.Linear(64, 3)

        def forward(self, x):
            return self.head(torch.tanh(nn.functional.linear(x, self.mix)))

    model, x = Fixed(), 1000 * torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    done = repair(model, (x, torch.arange(256) % 3), loss="cross_entropy")
    assert done.scaler is None
    assert all(torch.equal(a, b) for a, b in zip(done.model.parameters(), model.parameters(), strict=True))
    assert not done.report.edits.applied
    assert done.report.findings == done.report.before.findings
    assert done.report.edits[0].reason.startswith("undone: measured again")


def test_stale_running_statistics_are_calibrated() -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2)).eval()
    with torch.no_grad():
        model[1].running_mean.fill_(50.0)
        model[1].num_batches_tracked.fill_(100)
    x = torch.randn(512, 6, generator=torch.Generator().manual_seed(0))
    done = repair(model, (x, torch.arange(512) % 2), loss="cross_entropy", select=["NRM602"])
    assert [finding.code for finding in done.report.before.findings] == ["NRM602"]
    assert done.report.exit_code == 0
    assert torch.equal(done.model[0].weight, model[0].weight)


def test_every_code_that_stays_is_told_with_what_is_left_to_do() -> None:
    softmaxed = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 5), nn.Softmax(1))
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
    done = repair(softmaxed, (x, torch.arange(256) % 5), loss="cross_entropy", select=["LOS705"])
    (edit,) = done.report.edits
    assert (edit.action, edit.applied) == ("mend LOS705", False)
    assert edit.reason.startswith("no automatic fix; by hand: ")


def test_a_healthy_model_is_left_alone() -> None:
    x, y = images(1.0)
    done = repair(convolutions(), (x, y), loss="cross_entropy", select=["NUM", "STR"])
    assert not done.report.edits
    assert done.whole is done.model


def test_the_fix_of_images_off_scale_runs_as_pasted() -> None:
    data, y = images(255.0)
    model = convolutions()
    (found,) = onesigma.check(model, (data, y), loss="cross_entropy", select=["INP101"]).findings
    scope = {"onesigma": onesigma, "nn": nn, "data": data, "model": model}
    exec(found.fix, scope)
    assert onesigma.check(scope["model"][1], scope["model"][0](data), select=["INP"]).exit_code == 0
    assert scope["model"](data).shape == (64, 5)

"""`repair`: a step stays only if it helped, and the model that came in is as it was."""

import torch
from sklearn.datasets import load_wine
from torch import nn

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

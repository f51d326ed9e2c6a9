"""The report of `check` carries what is predicted beside what was measured."""

import pytest
import torch
from torch import nn

from onesigma import check


def test_a_report_says_what_was_predicted_of_every_linear() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
    report = check(model, torch.randn(128, 64), predicted=True)
    measured = {record.name: record.output.std for record in report.trace.of_kind("linear") if record.output}
    assert report.predicted == pytest.approx(measured, rel=0.05)
    assert "predicted" in report.to_html()
    assert type(report).from_json(report.to_json()).predicted == report.predicted


def test_gradients_are_predicted_from_that_of_the_output() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
    # A gradient at the output like noise, which is what a prediction supposes; docs/prediction.md promises 10 %.
    signs = torch.randn(512, 256)
    report = check(
        model, (torch.randn(512, 64), signs), loss=lambda output, signs: (output * signs).mean(), predicted=True
    )
    measured = {record.name: record.gradient.rms for record in report.trace.of_kind("linear") if record.gradient}
    assert report.predicted_gradients == pytest.approx(measured, rel=0.1)
    assert "predicted gradient" in report.to_html()
    assert type(report).from_json(report.to_json()).predicted_gradients == report.predicted_gradients


def test_without_a_loss_no_gradient_is_predicted() -> None:
    report = check(nn.Linear(4, 4), torch.randn(8, 4), predicted=True)
    assert (list(report.predicted), report.predicted_gradients) == (["linear"], {})


def test_of_two_outputs_that_both_have_gradients_none_is_taken_for_the_scale() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.first(x), self.second(x)

    loss = lambda output, target: output[0].square().mean() + output[1].square().mean()  # noqa: E731
    assert check(Two(), (torch.randn(8, 4), torch.randn(8, 1)), loss=loss, predicted=True).predicted_gradients == {}

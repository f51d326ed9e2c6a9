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

"""RNN, LSTM and GRU as one call: predicted beside measured."""

import pytest
import torch
from torch import nn

from onesigma import measure, predict

# Steps are taken as independent but for what the state keeps: looser than the 5 % of feedforward layers.
BAR = 0.1

CASES = {
    "tanh": lambda: nn.RNN(64, 256, batch_first=True),
    "relu, without bias": lambda: nn.RNN(64, 256, nonlinearity="relu", bias=False, batch_first=True),
    "lstm, two layers": lambda: nn.LSTM(64, 256, 2, batch_first=True),
    "gru": lambda: nn.GRU(64, 256, batch_first=True),
    "gru, both ways": lambda: nn.GRU(64, 256, bidirectional=True, batch_first=True),
    "lstm, time first": lambda: TimeFirst(nn.LSTM(64, 256)),
    "lstm, orthogonal": lambda: with_orthogonal(nn.LSTM(64, 256, batch_first=True)),
    "gru, orthogonal": lambda: with_orthogonal(nn.GRU(64, 256, batch_first=True)),
}


class TimeFirst(nn.Module):
    def __init__(self, inner: nn.RNNBase) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.transpose(0, 1))[0]


def with_orthogonal(model: nn.RNNBase) -> nn.RNNBase:
    for name, parameter in model.named_parameters():
        if "weight_hh" in name:
            for gate in parameter.data.split(256):
                nn.init.orthogonal_(gate)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
    return model


@pytest.mark.parametrize("name", CASES)
def test_the_states_are_within_ten_percent(name: str) -> None:
    torch.manual_seed(11)
    model = CASES[name]()
    batch = torch.randn(64, 24, 64, generator=torch.Generator().manual_seed(0))
    (record,) = predict(model, batch).of_kind("recurrent")
    (seen,) = measure(model, batch).of_kind("recurrent")
    assert record.unknown == ""
    assert seen.output is not None
    assert record.std == pytest.approx(seen.output.std, rel=BAR)


def test_what_has_no_rule_is_unknown() -> None:
    batch = torch.randn(8, 4, 16, generator=torch.Generator().manual_seed(0))
    (record,) = predict(nn.LSTM(16, 8, proj_size=4, batch_first=True), batch).records
    assert "projections" in record.unknown
    (record,) = predict(nn.LSTM(16, 8), batch).records
    assert "axis 0 of the batch is time" in record.unknown

"""A costly batch is compared between the modes on a few rows, unless these leave it open."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma.measure import measure_contrasted
from onesigma.model.batches import first_batch
from onesigma.model.state import fingerprint
from onesigma.model.trace import LossRecord

ROWS = 16
X = torch.randn(ROWS, 3, 96, 96, generator=torch.Generator().manual_seed(0))
Y = torch.arange(ROWS) % 5


class Costly(nn.Module):
    """Over 2²⁴ values in a pass; its running statistics are those of X."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 48, 3), nn.Linear(48, 5)
        self.norm = nn.BatchNorm2d(48, momentum=1.0)
        self(X)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        y = self.head(F.relu(self.norm(self.conv(x))).mean((2, 3)))
        return y if labels is None else {"loss": F.cross_entropy(y, labels), "logits": y}


def found(model: nn.Module, batch: Any = (X, Y), loss: Any = "cross_entropy") -> LossRecord:
    record = measure_contrasted(model, first_batch(batch), loss=loss).loss
    assert record is not None
    assert record.in_eval is not None
    return record


def in_eval(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = model.eval()(X)
    model.train()
    return output


@pytest.mark.parametrize(
    ("batch", "loss", "scale"),
    [
        ((X, Y), "cross_entropy", 1),
        ((X, Y), nn.CrossEntropyLoss(reduction="sum"), ROWS),
        ({"x": X, "labels": Y}, None, 1),
    ],
)
def test_four_rows_settle_that_both_modes_pay_the_same(batch: Any, loss: Any, scale: int) -> None:
    model = Costly()
    before = fingerprint(model)
    record = found(model, batch, loss)
    assert fingerprint(model) == before
    assert record.eval_samples == 4
    whole = scale * F.cross_entropy(in_eval(model), Y).item()
    # What the rows were asked: less than a tenth of the loss away.
    assert record.in_eval == pytest.approx(whole, rel=0.1)


def test_a_gap_is_told_of_the_whole_batch() -> None:
    model = Costly()
    model.norm.running_mean.sub_(20.0)  # type: ignore[union-attr]
    record = found(model)
    assert record.eval_samples == ROWS
    torch.testing.assert_close(record.in_eval, F.cross_entropy(in_eval(model), Y).item())
    assert record.in_eval is not None
    assert record.in_eval > 1.1 * record.value


def test_a_loss_that_compares_rows_is_that_of_the_whole_batch() -> None:
    def spread(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return 1 + output.var(0).mean()

    model = Costly()
    record = found(model, loss=spread)
    assert record.eval_samples == ROWS
    torch.testing.assert_close(record.in_eval, spread(in_eval(model), Y).item())


def test_a_small_pass_is_compared_as_a_whole() -> None:
    model = Costly()
    assert found(model, (X[:, :, :32, :32], Y)).eval_samples == ROWS

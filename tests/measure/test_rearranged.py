"""What an operation hands on as it was is not measured twice; what it changed is."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from onesigma import measure

LOWER = torch.ones(16, 16, dtype=torch.bool).tril()


def written(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, :8] = 100.0
    return y


def written_through_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x.tanh()
    y[3].fill_(100.0)
    return y


CHANGED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "masked_fill": lambda x: x.masked_fill(~LOWER, -1e9),
    "tril": torch.tril,
    "first half": lambda x: x.chunk(2, dim=1)[0],
    "the same column over and over": lambda x: x[:, [3] * 16],
    "written to": written,
    "written to through a view": written_through_a_view,
    "index_fill": lambda x: x.index_fill(1, torch.tensor([0, 1]), 50.0),
    "too large for half": lambda x: (x * 1e4).half(),
    "nan_to_num": lambda x: x.nan_to_num(),
}

# In place, and without a result: what comes next has the numbers.
WRITTEN = {"written to", "written to through a view"}

KEPT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "view": lambda x: x.view(8, 32),
    "transpose": lambda x: x.t(),
    "roll": lambda x: x.roll(1, 0),
    "double": lambda x: x.double(),
}


class Passing(nn.Module):
    def __init__(self, step: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(x * torch.linspace(0.1, 3.0, 16)[:, None]).float().tanh()


@pytest.mark.parametrize("name", [*CHANGED, *KEPT])
def test_a_record_says_what_came_out_of_its_call(name: str) -> None:
    step = {**CHANGED, **KEPT}[name]
    x = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    trace = measure(Passing(step), x)
    came = step(x * torch.linspace(0.1, 3.0, 16)[:, None]).float()
    last = trace.records[-1]
    assert last.op == "tanh"
    assert last.input is not None
    finite = came[came.isfinite()].double()
    assert last.input.nonfinite == came.numel() - finite.numel()
    assert last.input.std == pytest.approx(float(finite.std(correction=0)), rel=1e-6)
    before = trace.records[-2].output
    if name not in WRITTEN:
        assert before is not None
        assert before.count == came.numel()
        assert before.std == last.input.std


class Branching(nn.Module):
    """Sums hand their gradient on as it is; where branches meet again, autograd adds up in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.made: list[torch.Tensor] = []

    def kept(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_inference() and x.requires_grad:
            x.retain_grad()
        self.made.append(x)
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.made = []
        for layer in self.layers:
            branch = self.kept(layer(x))
            shifted = self.kept(branch + 1.0)
            doubled = self.kept(branch * 2.0)
            x = self.kept(shifted.sin() + doubled + branch)
        return x


def test_a_gradient_that_several_tensors_share_is_that_of_each() -> None:
    torch.manual_seed(0)
    model, x, y = Branching(), torch.randn(8, 16), torch.randn(8, 16)
    trace = measure(model, (x, y), loss=nn.MSELoss())
    nn.functional.mse_loss(model(x), y).backward()
    truth = [tensor.grad.double().std(correction=0).item() for tensor in model.made if tensor.grad is not None]
    measured = [record.gradient.std for record in trace.records if record.gradient is not None]
    for std in truth:
        assert any(abs(std - found) <= 1e-6 * std for found in measured)
    assert len({round(std, 12) for std in truth}) > 6

"""The scheme `analytic`: unit pre-activations without a value of any pass, the same weights every time."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma import initialize_, measure
from onesigma.model.state import fingerprint

_spec = importlib.util.spec_from_file_location("families", Path(__file__).parents[1] / "model" / "families.py")
assert _spec is not None
assert _spec.loader is not None
families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# As many samples as make what the batch itself differs by small beside 2 %.
IDS = torch.randint(0, 1000, (64, 64), generator=seeded())
NOISE = torch.randn(64, 3, 32, 32, generator=seeded())


def stack(activation: type[nn.Module], *, depth: int = 4) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(64, 512)]
    for _ in range(depth):
        layers += [activation(), nn.Linear(512, 512)]
    return nn.Sequential(*layers)


CASES = {
    "relu": lambda: (stack(nn.ReLU), torch.randn(512, 64, generator=seeded())),
    "tanh": lambda: (stack(nn.Tanh), torch.randn(512, 64, generator=seeded())),
    "gelu": lambda: (stack(nn.GELU), torch.randn(512, 64, generator=seeded())),
    "gpt": lambda: (families.Gpt(), IDS),
    "mixture of experts": lambda: (families.Gpt(experts=True), IDS),
    "llama": lambda: (families.Llama(), IDS),
    "vit": lambda: (families.Vit(), NOISE),
    "unet": lambda: (families.Unet(), NOISE),
    "resnet": lambda: (families.resnet(norm=True), NOISE),
    "resnet without norms": lambda: (families.resnet(norm=False), NOISE),
}


@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_within_two_percent_of_unit_std(name: str) -> None:
    torch.manual_seed(3)
    model, batch = CASES[name]()
    edits = initialize_(model, batch, scheme="analytic")
    assert all(edit.applied and edit.after == 1.0 for edit in edits)
    layers = {edit.layer for edit in edits}
    stds: dict[str, float] = {}
    for record in measure(model, batch).of_kind("linear", "embedding"):
        if record.output is not None and record.name in layers:
            stds.setdefault(record.name, record.output.std)
    assert stds
    # DESIGN section 6: 1 ± 2 % without data.
    assert {layer: std for layer, std in stds.items() if abs(std - 1) > 0.02} == {}


def test_a_batch_without_values_and_other_data_of_its_scale_give_the_same_unit_scale() -> None:
    torch.manual_seed(4)
    model = stack(nn.ReLU)
    edits = initialize_(model, torch.empty(512, 64, device="meta"), scheme="analytic")
    assert len(edits.applied) == 5
    for record in measure(model, torch.randn(512, 64, generator=seeded())).of_kind("linear"):
        assert record.output is not None
        assert record.output.std == pytest.approx(1.0, abs=0.05)


def test_the_weights_depend_on_seed_and_name_alone() -> None:
    first, second = stack(nn.Tanh), stack(nn.Tanh)
    batch = torch.randn(64, 64, generator=seeded())
    for model in (first, second):
        initialize_(model, batch, scheme="analytic", seed=7)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_what_is_not_known_falls_back_to_the_draw_and_says_so() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.fft.fft(self.first(x)).abs())

    model = Model()
    first, second = initialize_(model, torch.randn(64, 64, generator=seeded()), scheme="analytic")
    assert first.after == 1.0
    assert second.applied
    assert second.after is None
    assert "fft" in second.reason
    # The std of 4096 draws has relative standard error 1/√(2·4096).
    assert model.second.weight.std().item() == pytest.approx(1 / 8, rel=5 / 8192**0.5)


def test_undo_and_failure_leave_the_model_as_it_was() -> None:
    model = families.Unet()
    before = fingerprint(model)
    initialize_(model, NOISE, scheme="analytic").undo()
    assert fingerprint(model) == before

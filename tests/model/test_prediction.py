"""`predict` against `measure`: plain stacks, residual networks with and without norms, and what is not known."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from onesigma import measure, predict
from onesigma.model.state import fingerprint

_spec = importlib.util.spec_from_file_location("families", Path(__file__).with_name("families.py"))
assert _spec is not None
assert _spec.loader is not None
families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)

# DESIGN section 6: every layer's std within 5 % at width 256 and more.
BAR = 0.05


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def farthest(model: nn.Module, batch: torch.Tensor, *, kinds: tuple[str, ...] = ("linear", "join", "norm")) -> float:
    """The largest relative error of a predicted std among the calls of these kinds; all of them must be known."""
    measured = {(record.layer, record.op, record.call): record for record in measure(model, batch).records}
    errors = []
    for record in predict(model, batch).of_kind(*kinds):
        seen = measured[record.layer, record.op, record.call].output
        assert record.unknown == ""
        assert seen is not None
        assert record.std is not None
        errors.append(abs(record.std / seen.std - 1))
    assert errors
    return max(errors)


def mlp(activation: type[nn.Module], *, width: int = 256, depth: int = 5, kaiming: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(64, width)]
    for _ in range(depth):
        layers += [activation(), nn.Linear(width, width)]
    model = nn.Sequential(*layers)
    for layer in model:
        if isinstance(layer, nn.Linear) and kaiming:
            nn.init.kaiming_normal_(layer.weight, generator=seeded(layer.in_features))
            nn.init.zeros_(layer.bias)
    return model


@pytest.mark.parametrize("kaiming", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.LeakyReLU, nn.Hardswish])
def test_every_layer_of_a_plain_stack_is_within_five_percent(activation: type[nn.Module], kaiming: bool) -> None:
    torch.manual_seed(1)
    model = mlp(activation, kaiming=kaiming)
    assert farthest(model, torch.randn(128, 64, generator=seeded())) < BAR


@pytest.mark.parametrize("norm", [True, False])
def test_every_layer_of_a_residual_network_is_within_five_percent(norm: bool) -> None:
    torch.manual_seed(2)
    assert farthest(families.resnet(norm=norm), torch.randn(8, 3, 64, 64, generator=seeded())) < BAR


@pytest.mark.parametrize("size", [4, 7, 14])
def test_zero_padded_borders_are_counted(size: int) -> None:
    layer = nn.Conv2d(256, 256, 3, padding=1, bias=False)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(256 * 9), generator=seeded(3))
    (record,) = predict(layer, torch.randn(8, 256, size, size, generator=seeded()).to("meta")).records
    # facts 4.4: of 3 × 3 taps (3H − 2)² in (3H)² see the map; 2304·256 weights have a mean square within 5·√(2/n).
    expected = ((3 * size - 2) / (3 * size)) ** 2
    assert record.second_moment == pytest.approx(expected, rel=5 * math.sqrt(2 / layer.weight.numel()))


def test_what_has_no_rule_is_unknown_and_stops_the_prediction_there() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.after(torch.fft.fft(self.before(x)).real)

    before, *rest = predict(Model(), torch.randn(4, 8, generator=seeded())).records
    assert before.std is not None
    assert rest
    assert all(record.unknown and record.std is None for record in rest)
    assert "fft" in rest[0].unknown


def test_the_model_is_left_as_it_was() -> None:
    model = families.resnet(norm=True)
    before = fingerprint(model)
    predict(model, torch.randn(4, 3, 32, 32, generator=seeded()))
    assert fingerprint(model) == before


def test_a_batch_without_values_is_taken_as_standardized() -> None:
    torch.manual_seed(4)
    model = mlp(nn.ReLU, kaiming=True)
    real = predict(model, torch.randn(512, 64, generator=seeded())).stds
    meta = predict(model, torch.empty(512, 64, device="meta")).stds
    # The rms of 512 · 64 normals is 1 within 5/√(2·32768), and the first layer's 64 inputs mix at random.
    assert meta == pytest.approx(real, rel=BAR)


def test_zero_weights_are_zero() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    assert predict(model, torch.randn(16, 8, generator=seeded())).records[-1].second_moment == 0


def test_a_tensor_added_to_itself_is_twice_that_tensor() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + x) - x * 2 + x.relu() * 3

    records = predict(Twice(), torch.randn(64, 8, generator=seeded())).records
    assert records[0].rms == pytest.approx(2, rel=0.1)
    zero, tripled = records[2], records[-2]
    assert zero.second_moment == pytest.approx(0, abs=1e-9)
    assert tripled.mean == pytest.approx(3 / math.sqrt(2 * math.pi), rel=0.1)


def test_windows_that_the_border_cuts_have_smaller_maxima() -> None:
    x = torch.randn(4096, 1, 8, 8, generator=seeded())
    pool = nn.MaxPool2d(3, 2, 1)
    (record,) = predict(pool, x.to("meta")).records
    seen = pool(x)
    # 16 maxima per sample, of which neighbors share values: four times the variance of independent ones is enough.
    assert record.mean == pytest.approx(seen.mean().item(), abs=5 * 2 * seen.std().item() / seen.numel() ** 0.5)
    assert record.std == pytest.approx(seen.std().item(), rel=5 * 2 / (2 * seen.numel()) ** 0.5)


def test_a_norm_written_out_is_a_norm() -> None:
    class Norm(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True))

    record = predict(Norm(), torch.empty(64, 32, device="meta")).records[-1]
    # Every row has mean square 1; the prediction neglects what is of second order in 1/32.
    assert record.second_moment == pytest.approx(1, abs=8 / 32**2)


@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_mirrored_weights_are_seen(layer: str) -> None:
    """Behind W = [[M, −M], [−M, M]] the halves of a ReLU's results give back what it was given."""

    def made(inputs: int) -> nn.Module:
        module = nn.Linear(inputs, 256) if layer == "linear" else nn.Conv2d(inputs, 256, 1)
        nn.init.zeros_(module.bias)
        half = torch.randn(128, *module.weight[0].shape, generator=seeded(inputs)) / inputs**0.5
        if inputs == 256:
            half = torch.cat([half[:, :128], -half[:, :128]], dim=1) * 2**0.5
        with torch.no_grad():
            module.weight.copy_(torch.cat([half, -half]))
        return module

    torch.manual_seed(8)
    model = nn.Sequential(made(64), nn.ReLU(), made(256), nn.ReLU(), made(256))
    batch = torch.randn(256, 64, *(() if layer == "linear" else (4, 4)), generator=seeded())
    assert farthest(model, batch) < BAR


def test_mirrored_halves_are_followed_through_pooling_and_never_taken_as_independent() -> None:
    half = torch.randn(128, 64, 1, 1, generator=seeded(9)) / 8
    conv = nn.Conv2d(64, 256, 1, bias=False)
    head = nn.Linear(256, 256, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([half, -half]))
        side = torch.randn(256, 128, generator=seeded(10)) / 8
        head.weight.copy_(torch.cat([side, -side], dim=1))
    batch = torch.randn(256, 64, 4, 4, generator=seeded())
    pooled = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    assert farthest(pooled, batch) < BAR
    normed = predict(nn.Sequential(conv, nn.ReLU(), nn.GroupNorm(4, 256), nn.Flatten()), batch)
    assert "mirror" in normed.records[2].unknown

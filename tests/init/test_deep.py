"""The scheme `deep`: signals and gradients keep their scale through a hundred layers without norms or skips."""

import pytest
import torch
from torch import nn

from onesigma.init.initialize import initialize_
from onesigma.measure import measure

DEPTH, WIDTH = 100, 64


def stack(activation: type[nn.Module], *, depth: int = DEPTH, width: int = WIDTH) -> nn.Sequential:
    hidden = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def batch(width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(256, width, generator=generator), torch.arange(256) % 10


def gradient_ratio(model: nn.Module) -> float:
    """Gradient std at the first pre-activation over that at the last hidden one."""
    linears = list(measure(model, batch(), loss="cross_entropy").of_kind("linear"))
    return linears[0].gradient.std / linears[-2].gradient.std


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Softplus])
def test_where_the_odd_part_is_the_identity_the_stack_is_an_isometry(activation: type[nn.Module]) -> None:
    model = stack(activation)
    initialize_(model, batch()[0], scheme="deep")
    x, y = batch()
    linears = list(measure(model, (x, y), loss="cross_entropy").of_kind("linear"))
    assert all(record.output.std == pytest.approx(1, abs=1e-3) for record in linears)
    # Orthogonal maps keep each sample's norm, and with it what tells the samples apart: the input is not collapsed.
    assert linears[-2].output.correlation == pytest.approx(linears[0].output.correlation, abs=0.01)
    # The gradient goes back through the derivative's even part as well: f'(z) + f'(−z) = 1 holds only in the sum.
    assert 0.5 < gradient_ratio(model) < 2


def test_for_tanh_the_gradient_changes_within_the_bound() -> None:
    model = stack(nn.Tanh)
    edits = initialize_(model, batch()[0], scheme="deep")
    assert "orthogonal for tanh at depth 100" in edits[1].reason
    # χ^depth ≤ 2 for squares, so √2 for std; finite width adds to it.
    assert 1 / 2 < gradient_ratio(model) < 2


def test_weights_are_mirrored_by_their_place_in_the_chain() -> None:
    model = stack(nn.ReLU, depth=3)
    initialize_(model, batch()[0], scheme="deep")
    half = WIDTH // 2
    first, hidden, last = model[0].weight, model[2].weight, model[6].weight
    assert torch.equal(first[:half], -first[half:])
    assert torch.equal(hidden[:half, :half], -hidden[half:, :half])
    assert torch.equal(hidden[:half, :half], hidden[half:, half:])
    assert torch.equal(last[:, :half], -last[:, half:])


def test_convolutions_are_mirrored_at_the_center_of_their_kernel() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    initialize_(model, torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(0)), scheme="deep")
    weight = model[2].weight
    assert torch.equal(weight[:4, :4, 1, 1], -weight[4:, :4, 1, 1])
    assert weight.count_nonzero() == weight[:, :, 1, 1].count_nonzero()


def test_an_odd_number_of_units_falls_back_and_says_so() -> None:
    model = nn.Sequential(nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 2))
    edits = initialize_(model, torch.randn(64, 8), scheme="deep")
    assert all("has an odd side" in edit.reason for edit in edits)
    assert [edit.after for edit in edits] == pytest.approx([1, 1], abs=1e-3)


def test_undo_and_reproduction_hold_as_for_unit() -> None:
    one, other = stack(nn.Tanh, depth=2), stack(nn.Tanh, depth=2)
    before = [parameter.detach().clone() for parameter in one.parameters()]
    edits = initialize_(one, batch()[0], scheme="deep", seed=3)
    initialize_(other, batch()[0], scheme="deep", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    edits.undo()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), before, strict=True))


def conv_stack(activation: type[nn.Module], *, depth: int, channels: int = 16) -> nn.Sequential:
    hidden = [part for _ in range(depth) for part in (nn.Conv2d(channels, channels, 3, padding=1), activation())]
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), activation(), *hidden)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_fifty_convolutions_hold_the_signal_up_to_the_border(activation: type[nn.Module]) -> None:
    model = conv_stack(activation, depth=49)
    x = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    initialize_(model, x, scheme="deep")
    last = list(measure(model, x).of_kind("linear"))[-1]
    first = next(iter(measure(model, x).of_kind("linear")))
    assert last.output.correlation == pytest.approx(first.output.correlation, abs=0.05)
    out = model[:-1](x).detach()
    # A zero-padded border costs a plain draw 0.85 per layer on six pixels; the center of a kernel reads no border.
    assert float(out[..., 0, 0].std() / out[..., 3, 3].std()) == pytest.approx(1, abs=0.25)
    assert model[2].weight.count_nonzero() == model[2].weight[:, :, 1, 1].count_nonzero()


def test_grouped_and_transposed_convolutions_fall_back_and_say_so() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Tanh(), nn.ConvTranspose2d(8, 4, 4, 2), nn.Tanh())
    edits = initialize_(model, torch.randn(8, 4, 8, 8), scheme="deep")
    assert ["groups do not mix" in edits[0].reason, "spreads each input" in edits[1].reason] == [True, True]

"""A norm goes where it was asked for, sees unit scale there, and can be taken out again."""

import pytest
import torch
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import BatchNormLast, insert_


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Functional(nn.Module):
    """No Sequential, and a nonlinearity that is a function call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.head = nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.first(x)))


SHAPES = {
    "table": (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), (64, 4), nn.BatchNorm1d),
    "sequence": (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), (16, 5, 4), BatchNormLast),
    "signal": (nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU()), (16, 4, 9), nn.BatchNorm1d),
    "image": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (16, 3, 9, 9), nn.BatchNorm2d),
    "volume": (nn.Sequential(nn.Conv3d(2, 8, 3), nn.ReLU()), (4, 2, 5, 5, 5), nn.BatchNorm3d),
}


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_norm_fits_the_shape_and_gives_unit_scale(name: str, position: str) -> None:
    model, shape, kind = SHAPES[name]
    edits = insert_(model, 100 * seeded(*shape), position=position)
    try:
        (norm,) = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        assert type(norm) is kind
        # σ²/(σ² + eps) of a tanh that hardly leaves ±1 is the farthest from 1.
        assert edits[0].after == pytest.approx(1, abs=1e-3)
    finally:
        edits.undo()


def test_eval_computes_what_training_computes_but_for_bessel() -> None:
    x = seeded(64, 4)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
    insert_(model, x)
    trained, evaluated = model[:2](x), model.eval()[:2](x)
    torch.testing.assert_close(evaluated, trained * (63 / 64) ** 0.5, rtol=1e-4, atol=1e-5)


def test_keys_in_a_sequential_stay_and_undo_is_bit_for_bit() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    before, keys = fingerprint(model), set(model.state_dict())
    edits = insert_(model, seeded(64, 4))
    assert keys - set(model.state_dict()) == {"0.bias", "2.bias"}
    assert [edit.layer for edit in edits.applied] == ["0", "2"]
    edits.undo()
    assert fingerprint(model) == before


def test_outside_a_sequential_the_layer_is_wrapped_and_the_edit_says_so() -> None:
    model = Functional()
    (edit,) = insert_(model, seeded(64, 4))
    assert "first.* is now first.layer.*" in edit.reason
    assert model(seeded(3, 4)).shape == (3, 2)


def test_after_a_functional_nonlinearity_it_goes_before_the_layer_that_reads_it() -> None:
    model = Functional()
    (edit,) = insert_(model, seeded(64, 4), position="after")
    assert "head.* is now head.layer.*" in edit.reason
    assert edit.reason.endswith("folds forward into head.layer")


def test_a_layer_that_runs_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(torch.tanh(self.layer(x))))

    with pytest.warns(NoEffectWarning):
        edits = insert_(Twice(), seeded(16, 4))
    assert "more than once" in edits[0].reason


def test_layers_are_chosen_by_pattern() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
    assert [edit.layer for edit in insert_(model, seeded(16, 4), layers=["2"])] == ["2"]
    with pytest.raises(ConfigError, match="there are 0, 2"):
        insert_(model, seeded(16, 4), layers=["9"])


def test_an_unknown_position_is_refused() -> None:
    with pytest.raises(ConfigError, match='"before" or "after"'):
        insert_(nn.Linear(2, 2), seeded(4, 2), position="between")

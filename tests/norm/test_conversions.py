"""Every kind of BatchNorm turns into another and back without loss; what cannot is refused with a reason."""

import copy
import io
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma.model.edits import Edits
from onesigma.model.state import fingerprint
from onesigma.norm import (
    Float32Statistics,
    calibrate_,
    freeze_,
    ghost_,
    keep_float32_,
    plain_,
    renorm_,
    synchronize_,
    unfreeze_,
)

CONVERSIONS: dict[str, Callable[[nn.Module], Edits]] = {
    "freeze": freeze_,
    "synchronize": synchronize_,
    "ghost": lambda model: ghost_(model, size=4),
    "renorm": renorm_,
    "float32": keep_float32_,
}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Activated(nn.BatchNorm2d):
    """As libraries have it: a norm with more attributes and an activation."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.act, self.drop = nn.ReLU(), 0.3

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(input))


class OwnWay(nn.BatchNorm2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(input, None, None, training=True)


class Below(OwnWay):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input)


def state(model: nn.Module) -> tuple[object, ...]:
    """All that must come back: classes, attributes, hooks, the very parameters and buffers, and their values."""
    parts = [(type(module), set(module.__dict__), list(module._forward_hooks)) for module in model.modules()]
    return fingerprint(model), parts, [id(tensor) for tensor in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("dimensions", NORMS)
@pytest.mark.parametrize("name", CONVERSIONS)
def test_there_and_back_nothing_is_lost(name: str, dimensions: int) -> None:
    model = nn.Sequential(NORMS[dimensions](3, momentum=None, eps=1e-3))
    model[0].register_forward_hook(lambda *_: None)
    x = seeded(8, 3, *[4] * (dimensions - (dimensions == 1)))
    model(x)
    before, expected = state(model), copy.deepcopy(model).eval()(x)
    edits = CONVERSIONS[name](model)
    assert list(model.state_dict()) == [
        "0.weight",
        "0.bias",
        "0.running_mean",
        "0.running_var",
        "0.num_batches_tracked",
    ]
    assert torch.equal(copy.deepcopy(model).eval()(x), expected)
    assert isinstance(model[0], NORMS[dimensions])
    edits.undo()
    assert state(model) == before
    CONVERSIONS[name](model)
    plain_(model)
    assert state(model) == before


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_subclass_keeps_attributes_hooks_and_what_it_does(name: str) -> None:
    model, x, seen = nn.Sequential(Activated(3)), seeded(8, 3, 2, 2), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    model(x)
    expected = copy.deepcopy(model).eval()(x)
    CONVERSIONS[name](model)
    assert isinstance(model[0], Activated)
    assert model[0].drop == 0.3
    seen.clear()
    assert torch.equal(model.eval()(x), expected)
    assert model.train()(x).min() == 0
    assert len(seen) == 2


@pytest.mark.parametrize("make", [OwnWay, Below, nn.SyncBatchNorm])
@pytest.mark.parametrize("name", ["ghost", "renorm", "float32"])
def test_a_forward_that_normalizes_by_itself_is_refused(name: str, make: Callable[[int], nn.Module]) -> None:
    model = nn.Sequential(make(3))
    before = state(model)
    with pytest.warns(NoEffectWarning, match="computes its own normalization"):
        assert not CONVERSIONS[name](model).applied
    assert state(model) == before


@pytest.mark.parametrize(("first", "second"), itertools.product(["synchronize", "ghost", "renorm", "freeze"], repeat=2))
def test_only_one_kind_says_what_the_batch_is(first: str, second: str) -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    CONVERSIONS[first](model)
    if second == "freeze":
        assert CONVERSIONS[second](model).applied
        return
    with pytest.warns(NoEffectWarning, match="already"):
        assert not CONVERSIONS[second](model).applied


@pytest.mark.parametrize("order", list(itertools.permutations(["synchronize", "freeze", "float32"])))
@pytest.mark.parametrize("back", list(itertools.permutations(range(3))))
def test_what_is_put_on_in_one_order_comes_off_in_any(order: tuple[str, ...], back: tuple[int, ...]) -> None:
    if order.index("freeze") < order.index("synchronize"):
        pytest.skip("a frozen layer takes no statistics to synchronize")
    model = nn.Sequential(nn.BatchNorm1d(3))
    before = state(model)
    edits = [CONVERSIONS[name](model) for name in order]
    assert not model.train()[0].training
    for index in back:
        edits[index].undo()
    assert state(model) == before


def test_plain_can_be_undone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    ghost_(model)
    freeze_(model)
    freeze_(model)
    before = state(model)
    edits = plain_(model)
    assert (type(model[0]), model[0].training, model[0].weight.requires_grad) == (nn.BatchNorm1d, True, True)
    edits.undo()
    assert state(model) == before
    unfreeze_(model)
    unfreeze_(model)
    assert model[0].training
    with pytest.warns(NoEffectWarning):
        plain_(nn.Linear(2, 2))


@pytest.mark.parametrize("name", CONVERSIONS)
def test_converted_layers_can_be_copied_stored_and_calibrated(name: str) -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)), seeded(16, 3)
    CONVERSIONS[name](model)
    freeze_(model)
    unfreeze_(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for other in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert type(other[0]) is type(model[0])
        assert torch.equal(other(x), copy.deepcopy(model)(x))
        if name != "freeze":
            calibrate_(other, x)
            torch.testing.assert_close(other[0].running_mean, x.mean(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("also", [None, "ghost", "renorm", "freeze"])
def test_statistics_stay_float32_in_a_model_of_halves(dtype: torch.dtype, also: str | None) -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3, momentum=0.01)), (seeded(64, 3) * 2 + 1).to(dtype)
    keep_float32_(model)
    if also:
        CONVERSIONS[also](model)
    model.to(dtype)
    assert model[0].weight.dtype == dtype
    assert model[0].running_mean.dtype == model[0].running_var.dtype == torch.float32
    reference = nn.BatchNorm1d(3, momentum=0.01)
    for _ in range(500):
        assert model(x).dtype == dtype
        reference(x.float())
    if also != "freeze":
        # 500 updates, each rounded to half a unit; in bfloat16 they would stall a fifth away.
        rounding = 500 * torch.finfo(torch.float32).eps
        torch.testing.assert_close(model[0].running_var, reference.running_var, rtol=rounding, atol=0)
        model(x).sum().backward()
        assert model[0].weight.grad.dtype == dtype
    model.float()
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_a_variance_that_no_float16_holds_is_kept() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(1, momentum=1.0)), torch.tensor([[-400.0], [400.0]]).half()
    keep_float32_(model)
    model.half()
    model(x)
    assert model[0].running_var.item() == 320_000.0
    torch.testing.assert_close(model.eval()(x).float().abs(), torch.full((2, 1), 0.7071), rtol=1e-3, atol=0)


def test_halves_that_were_there_are_widened_and_given_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3)).half()
    before = state(model)
    edits = keep_float32_(model)
    assert isinstance(model[0], Float32Statistics)
    assert model[0].running_var.dtype == torch.float32
    edits.undo()
    assert state(model) == before
    keep_float32_(model)
    plain_(model)
    assert model[0].running_var.dtype == torch.float16

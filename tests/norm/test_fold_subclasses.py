"""Layers and norms of other classes fold when asked for, as far as a run shows what they do."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onesigma._errors import NoEffectWarning
from onesigma.norm import fold_, load_folded_, plan_folds, save_folded


class NormThenAct(nn.BatchNorm2d):
    """A norm that calls its own children, as image libraries build it."""

    def __init__(self, channels: int, act: type[nn.Module] = nn.PReLU) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1, self.eps)
        return self.act(self.drop(y))


class Renamed(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class ActInside(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(super().forward(x))


class Absolute(nn.BatchNorm2d):
    """γ without its sign, as in-place norms have it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight.abs() + 0.1, self.bias, self.training)


class Shortcut(nn.BatchNorm2d):
    """Its children are given something else than its result."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x) + super().forward(x)


class Same(nn.Conv2d):
    """Pads by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class Centered(nn.Conv2d):
    """Its weight is computed at every call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def trained(*layers: nn.Module) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    for norm in (layer for layer in layers if isinstance(layer, nn.BatchNorm2d)):
        norm.running_mean.normal_(generator=generator)
        norm.running_var.uniform_(0.3, 3, generator=generator)
        nn.init.normal_(norm.weight, generator=generator)
        nn.init.normal_(norm.bias, generator=generator)
    return nn.Sequential(*layers).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(1))


def conv() -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1)


FOLDED: dict[str, Callable[[], nn.Sequential]] = {
    "norm with children": lambda: trained(conv(), NormThenAct(4), conv(), NormThenAct(4, nn.Hardswish)),
    "norm by another name": lambda: trained(conv(), Renamed(4)),
    "norm without an activation, then conv": lambda: trained(nn.ReLU(), NormThenAct(4, nn.Identity), conv()),
    "convolution that pads by itself": lambda: trained(Same(4, 4, 3), nn.BatchNorm2d(4)),
    "both": lambda: trained(Same(4, 4, 3, bias=False), NormThenAct(4)),
}
REFUSED: dict[str, tuple[Callable[[], nn.Sequential], str]] = {
    "an activation of its own": (lambda: trained(conv(), ActInside(4)), "subclass"),
    "another scale than γ": (lambda: trained(conv(), Absolute(4)), "ActInside|subclass|moves the output"),
    "another way around it": (lambda: trained(conv(), Shortcut(4)), "subclass"),
    "a computed weight": (lambda: trained(Centered(4, 4, 3), nn.BatchNorm2d(4)), "weights of the model's own|anew"),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_a_run_shows_is_folded_when_asked_for(name: str) -> None:
    torch.manual_seed(0)
    model = FOLDED[name]()
    before = model(images())
    edits = fold_(model, images(), subclasses=True)
    assert not edits.refused
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert max(edit.error for edit in edits if edit.error is not None) <= 1e-10
    torch.testing.assert_close(model(images()), before)


@pytest.mark.parametrize("name", FOLDED)
def test_without_being_asked_nothing_is_believed_of_another_class(name: str) -> None:
    model = FOLDED[name]()
    with pytest.warns(NoEffectWarning, match="subclasses=True"):
        edits = fold_(model, images())
    assert all("subclasses=True" in edit.reason for edit in edits.refused)


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_more_stays(name: str) -> None:
    build, reason = REFUSED[name]
    model = build()
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(NoEffectWarning):
        edits = fold_(model, images(), subclasses=True)
    assert [edit.applied for edit in edits] == [False]
    assert edits[0].reason
    torch.testing.assert_close(dict(model.state_dict()), dict(before), rtol=0, atol=0)
    with pytest.warns(NoEffectWarning, match=reason):
        fold_(model, images(), subclasses=True)


def test_children_keep_their_keys_and_undo_brings_the_norm_back() -> None:
    model = FOLDED["norm with children"]()
    norm, before = model[1], model(images())
    edits = fold_(model, images(), subclasses=True)
    assert "1.act.weight" in model.state_dict()
    assert model[1].act is norm.act
    edits.undo()
    assert model[1] is norm
    assert torch.equal(model(images()), before)


@pytest.mark.parametrize("name", FOLDED)
def test_folded_files_bring_the_children_back(name: str, tmp_path: Path) -> None:
    model = FOLDED[name]()
    save_folded(model, fold_(model, images(), subclasses=True), path=tmp_path / "folded.pt")
    assert torch.equal(load_folded_(FOLDED[name](), tmp_path / "folded.pt")(images()), model(images()))


def test_the_plan_says_so_beforehand() -> None:
    plans = plan_folds(FOLDED["both"](), images(), subclasses=True)
    assert [(plan.layer, plan.side, plan.into) for plan in plans] == [("1", "before", ("0",))]

"""Folding where one batch would lie: other shapes, other objects, results that are kept, parameters that are odd."""

import copy
import dataclasses
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onesigma._errors import NoEffectWarning
from onesigma.model.state import fingerprint
from onesigma.norm import fold_

CASES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("fold_cases.py")))
B1, B2, conv, with_statistics, wired = (CASES[name] for name in ("B1", "B2", "conv", "with_statistics", "wired"))

pytestmark = pytest.mark.filterwarnings("ignore::onesigma._errors.NoEffectWarning")


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def ready(build: Callable[[], nn.Module], *, negative: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = with_statistics(build()).eval()
    for module in model.modules() if negative else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.weight.data[::2] *= -1
    return model


def same(model: nn.Module, other: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(x.clone()), other(x.clone()), rtol=1e-5, atol=1e-5)


def padded_to_even(m: Any, x: Tensor) -> Any:
    return m.bn(F.pad(m.c(x), (0, x.shape[-1] % 2)))


TWO_CONVS = {"bn": B2, "a": conv, "b": conv}
LINEAR = {"fc": lambda: nn.Linear(5, 4), "bn": B1}

# A model, the shape of the batch where a fold would be exact, and a shape where it would not be.
ONE_SHAPE_ONLY = {
    "padded convolutions of one pixel": (wired(lambda m, x: m.a(y := m.bn(x)) + m.b(y), **TWO_CONVS), 1, (2, 4, 5, 5)),
    "max pool over one window": (wired(lambda m, x: m.bn(m.c(x).amax((2, 3))), c=conv, bn=B1), 1, (2, 4, 3, 3)),
    "largest of one row": (wired(lambda m, x: m.bn(m.fc(x).amax(0, True)), **LINEAR), (1, 5), (3, 5)),
    "sum over one position": (wired(lambda m, x: m.bn(m.fc(x).sum(1)), **LINEAR), (3, 1, 5), (3, 4, 5)),
    "running sum over one position": (
        wired(lambda m, x: m.bn(m.fc(x).cumsum(1)[:, -1]), **LINEAR),
        (3, 1, 5),
        (3, 4, 5),
    ),
    "padding of width 0": (wired(padded_to_even, c=conv, bn=B2), (2, 4, 8, 8), (2, 4, 7, 7)),
    "transposed convolution of one pixel": (
        wired(lambda m, x: m.c(m.bn(x)), bn=B2, c=lambda: nn.ConvTranspose2d(4, 6, 3, 1, 1)),
        1,
        (2, 4, 3, 3),
    ),
    "branch on the number of rows": (
        wired(lambda m, x: m.bn(y) if len(y := m.fc(x)) > 1 else y, **LINEAR),
        (3, 5),
        (1, 5),
    ),
}


@pytest.mark.parametrize("name", ONE_SHAPE_ONLY)
def test_what_is_exact_at_one_shape_alone_is_no_fold(name: str) -> None:
    build, shape, other = ONE_SHAPE_ONLY[name]
    model = ready(build, negative=True)
    original = copy.deepcopy(model)
    edits = fold_(model, drawn(*((2, 4, 1, 1) if shape == 1 else shape)))
    assert not edits.applied
    assert "on a batch" in edits.refused[0].reason
    same(model, original, drawn(*other))


@dataclasses.dataclass
class Pair:
    normed: Tensor
    raw: Tensor


class Opaque:
    def __init__(self, **values: Any) -> None:
        vars(self).update(values, itself=self)


def kept_on_self(m: Any, x: Tensor) -> Tensor:
    m.features = m.c(x)
    out: Tensor = m.bn(m.features)
    return out


RAW_IS_SEEN = {
    "dataclass": wired(lambda m, x: Pair(m.bn(y := m.c(x)), y), c=conv, bn=B2),
    "unknown object": wired(lambda m, x: (m.bn(y := m.c(x)), Opaque(y=[y])), c=conv, bn=B2),
    "complex": wired(lambda m, x: (m.bn(y := m.c(x)), torch.complex(y, y)), c=conv, bn=B2),
    "attribute of the module": wired(kept_on_self, c=conv, bn=B2),
}


@pytest.mark.parametrize("name", RAW_IS_SEEN)
def test_a_signal_that_somebody_may_look_at_stays(name: str) -> None:
    assert not fold_(ready(RAW_IS_SEEN[name]), drawn(2, 4, 9, 9)).applied


def test_an_unknown_object_of_the_normed_signal_is_proof_enough() -> None:
    model = ready(wired(lambda m, x: Opaque(y=m.bn(m.c(x))), c=conv, bn=B2))
    expected = model(x := drawn(2, 4, 9, 9)).y
    assert fold_(model, x).applied
    torch.testing.assert_close(model(x).y, expected)


def test_a_shape_that_is_asked_for_is_no_reading_of_values() -> None:
    model = ready(wired(lambda m, x: m.bn((y := m.fc(x)).flatten(0, 1)).reshape_as(y).relu(), **LINEAR))
    original, x = copy.deepcopy(model), drawn(3, 6, 5)
    assert fold_(model, x).applied
    same(model, original, x)


def test_parameters_made_in_inference_mode_are_folded_and_undone() -> None:
    model = ready(lambda: nn.Sequential(conv(), B2()))
    with torch.inference_mode():
        model = copy.deepcopy(model)
    x, before = drawn(2, 4, 9, 9), [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        expected = model(x)
        edits = fold_(model, x)
        torch.testing.assert_close(model(x), expected)
    assert edits.applied
    edits.undo()
    assert all(map(torch.equal, model.parameters(), before))


def test_an_expanded_weight_is_refused_and_stays_as_it_is() -> None:
    model = ready(lambda: nn.Sequential(conv(), B2()))
    model[0].weight = nn.Parameter(model[0].weight.data[:1].expand(4, 4, 3, 3))
    before = fingerprint(model)
    assert "expanded" in fold_(model, drawn(2, 4, 9, 9)).refused[0].reason
    assert fingerprint(model) == before


def test_a_scripted_model_is_refused_with_a_reason() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.script(ready(lambda: nn.Sequential(conv(), B2())))
    assert "no BatchNorm that is known" in fold_(model, drawn(2, 4, 9, 9)).refused[0].reason


class Caching(nn.Module):
    """As LeViT does it: in eval mode, what its parameters give is computed once and kept."""

    def __init__(self, *, per_shape: bool) -> None:
        super().__init__()
        self.fc, self.bn, self.table = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Parameter(torch.randn(8, 4))
        self.per_shape = per_shape
        self.cache: dict[Any, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        key = x.shape if self.per_shape else x.device
        if key not in self.cache:
            self.cache[key] = self.table[torch.arange(4)].mean(0)
        return self.bn(self.fc(x)) + self.cache[key].to(x.dtype)


@pytest.mark.parametrize("per_shape", [False, True])
@pytest.mark.parametrize("has_run", [False, True])
def test_what_is_computed_once_and_kept_is_no_result(per_shape: bool, has_run: bool) -> None:
    model, x = ready(lambda: Caching(per_shape=per_shape)), drawn(6, 5)
    expected = copy.deepcopy(model)
    if has_run:
        model(x)
    (edit,) = fold_(model, x.detach())
    assert edit.applied, edit.reason
    same(model, expected, drawn(3, 5))


def test_a_norm_goes_into_no_norm_of_statistics_that_are_not_finite() -> None:
    """Neither of the two can be folded, and it is said of each."""
    model = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(3), nn.BatchNorm1d(3)).eval()
    model[2].running_mean[1] = float("nan")
    with pytest.warns(NoEffectWarning):
        edits = fold_(model, torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    assert ["not finite" in edit.reason for edit in edits] == [True, True]

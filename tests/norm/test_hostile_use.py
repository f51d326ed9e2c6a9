"""Models and data that a stranger may come with: an answer or an error of onesigma's own, and the model as it was."""

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, Dataset

from onesigma._errors import BatchError, CaptureError, ModelError, OnesigmaWarning
from onesigma.model.state import fingerprint
from onesigma.norm import (
    calibrate_,
    coupling,
    fold_,
    freeze_,
    gap,
    ghost_,
    insert_,
    keep_float32_,
    renorm_,
    strip_biases_,
    synchronize_,
)

pytestmark = pytest.mark.filterwarnings("ignore::onesigma._errors.NoEffectWarning")

WITH_DATA: dict[str, Callable[..., Any]] = {
    "calibrate": calibrate_,
    "calibrate layer by layer": lambda model, batches: calibrate_(model, batches, order="layer_by_layer"),
    "gap": gap,
    "coupling": coupling,
    "insert": insert_,
    "insert after": lambda model, batches: insert_(model, batches, position="after", kind="layer"),
    "strip": strip_biases_,
    "fold": fold_,
}
CONVERSIONS = {"freeze": freeze_, "sync": synchronize_, "ghost": ghost_, "renorm": renorm_, "float32": keep_float32_}


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def batch(rows: int = 16, columns: int = 5) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


class Failing(nn.Module):
    """Raises on its second run, or on the first one in training mode."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.fc, self.bn, self.runs, self.error = nn.Linear(5, 8), nn.BatchNorm1d(8), [0], error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs[0] += 1
        out = self.bn(self.fc(x))
        if self.runs[0] > 1:
            raise self.error("boom")
        return torch.relu(out)


def broken_loader() -> Iterator[torch.Tensor]:
    yield batch()
    raise KeyboardInterrupt


class Augmented(Dataset[torch.Tensor]):
    """Draws from all three global generators, as augmentation does."""

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.randn(5) + random.random() + np.random.rand()


@pytest.mark.parametrize("name", WITH_DATA)
@pytest.mark.parametrize("drawn", [False, True], ids=["loader", "iterator"])
def test_a_loader_that_draws_random_numbers_leaves_the_global_generators_where_they_stood(
    name: str, drawn: bool
) -> None:
    model, loader = mlp(), DataLoader(Augmented(), batch_size=8, shuffle=True)
    batches, before = iter(loader) if drawn else loader, random_states()
    WITH_DATA[name](model, batches)
    assert random_states() == before


def random_states() -> tuple[str, ...]:
    return str(torch.get_rng_state().tolist()), str(random.getstate()), str(np.random.get_state())


@pytest.mark.parametrize("name", WITH_DATA)
@pytest.mark.parametrize(
    "batches", [None, 3, "abc", [], iter(()), batch(0)], ids=["None", "number", "text", "list", "iterator", "rows"]
)
def test_what_holds_no_batch_is_a_batch_error(name: str, batches: Any) -> None:
    model = mlp()
    before = fingerprint(model)
    with pytest.raises(BatchError):
        WITH_DATA[name](model, batches)
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", WITH_DATA | CONVERSIONS)
def test_what_is_no_module_is_a_model_error(name: str) -> None:
    with pytest.raises(ModelError, match=r"nn\.Module"):
        WITH_DATA[name](torch.relu, batch()) if name in WITH_DATA else CONVERSIONS[name](torch.relu)


# Coupling looks at a float64 copy, which takes a batch of any precision.
UNFIT = [(name, batch(columns=7)) for name in WITH_DATA]
UNFIT += [(name, batch().double()) for name in WITH_DATA if name != "coupling"]


@pytest.mark.parametrize(("name", "data"), UNFIT)
def test_a_batch_that_the_model_cannot_take_is_a_capture_error(name: str, data: torch.Tensor) -> None:
    model = mlp()
    before = fingerprint(model)
    with pytest.raises(CaptureError):
        WITH_DATA[name](model, data)
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", WITH_DATA)
@pytest.mark.parametrize("error", [RuntimeError, KeyError, KeyboardInterrupt])
def test_a_run_that_is_broken_off_leaves_the_model_as_it_was(name: str, error: type[BaseException]) -> None:
    model = Failing(error)
    before = fingerprint(model)
    try:
        result = WITH_DATA[name](model, [batch()] * 3)
    except (CaptureError, ModelError, KeyboardInterrupt):
        pass
    else:
        getattr(result, "undo", lambda: None)()
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", ["calibrate", "calibrate layer by layer", "gap", "fold"])
def test_a_loader_that_is_interrupted_leaves_the_model_as_it_was(name: str) -> None:
    model = mlp()
    before = fingerprint(model)
    with pytest.raises(KeyboardInterrupt):
        WITH_DATA[name](model, broken_loader())
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", WITH_DATA)
def test_a_model_without_values_is_refused(name: str) -> None:
    model = mlp().to("meta")
    try:
        result = WITH_DATA[name](model, batch())
    except (CaptureError, ModelError):
        return
    assert not result.applied


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_lazy_norm_is_no_layer_to_convert_yet(name: str) -> None:
    edits = CONVERSIONS[name](nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d()))
    assert "no shape yet" in edits.refused[0].reason


def test_a_bias_beside_a_computed_weight_is_stripped_and_put_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 8)), nn.BatchNorm1d(8), nn.ReLU())
    original, x, before = copy.deepcopy(model).eval(), batch(), fingerprint(model)
    edits = strip_biases_(model, x)
    assert model[0].bias is None
    torch.testing.assert_close(model.eval()(x), original(x))
    model.train()
    edits.undo()
    assert fingerprint(model) == before


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_coupling_of_a_scripted_model_is_refused() -> None:
    with pytest.warns(DeprecationWarning, match="script"):
        model = torch.jit.script(mlp())
    with pytest.raises(ModelError, match="scripted"):
        coupling(model, batch())


def test_a_wrapper_that_exchanges_gradients_of_other_parameters_is_told_of(tmp_path: Path) -> None:
    """Those of an inserted norm would stay each rank's own, and those of a stripped bias be waited for."""
    store = f"file://{tmp_path / 'rendezvous'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        plain = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        for verb, model in ((insert_, plain), (strip_biases_, mlp())):
            with pytest.warns(OnesigmaWarning, match=r"wrap model\.module anew"):
                assert verb(nn.parallel.DistributedDataParallel(model), batch()).applied
    finally:
        torch.distributed.destroy_process_group()

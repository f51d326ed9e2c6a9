"""Every module of the room in one graph: compiled, exported, traced; and copied, stored, fed with nothing."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from onesigma.norm import (
    BatchRenorm,
    GhostBatchNorm,
    MaskedBatchNorm1d,
    RenormLimits,
    SyncBatchNorm,
    freeze_,
    ghost_,
    keep_float32_,
    mask_,
    renorm_,
    synchronize_,
)

AT_ONCE = RenormLimits(warmup=0, r_full=0, d_full=0)
GROWING = RenormLimits(r_max=1.2, d_max=0.3, warmup=1, r_full=4, d_full=3)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def converted(*verbs: Callable[[nn.Module], Any], **options: Any) -> nn.Module:
    norm = nn.BatchNorm1d(6, **options)
    for verb in verbs:
        verb(norm)
    return norm


MODULES: dict[str, Callable[..., nn.Module]] = {
    "masked": lambda **options: MaskedBatchNorm1d(6, **options),
    "sync": lambda **options: SyncBatchNorm(6, **options),
    "ghost": lambda **options: GhostBatchNorm(6, ghost_size=4, **options),
    "renorm": lambda **options: BatchRenorm(6, limits=AT_ONCE, **options),
    "growing renorm": lambda **options: BatchRenorm(6, limits=GROWING, **options),
    "frozen": lambda **options: converted(freeze_, **options),
    "float32": lambda **options: converted(keep_float32_, **options),
    "converted": lambda **options: converted(lambda norm: ghost_(norm, size=4), keep_float32_, freeze_, **options),
    "renorm of halves": lambda **options: converted(
        lambda norm: renorm_(norm, limits=GROWING), keep_float32_, synchronize_if_alone, **options
    ),
}
MASKS = {
    "some": torch.arange(9 * 5).view(9, 5) % 3 > 0,
    "all": torch.ones(9, 5),
    "none": torch.zeros(9, 5),
}


def synchronize_if_alone(norm: nn.Module) -> None:
    """Only one kind says what the batch is."""
    if not isinstance(norm, BatchRenorm):
        synchronize_(norm)


def moved(norm: nn.Module) -> nn.Module:
    """With parameters and statistics that matter."""
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(seeded(6, seed=3))
        for name, buffer in norm.named_buffers():
            if name != "num_batches_tracked":
                buffer.copy_(seeded(6, seed=4).abs() + 0.5)
    return norm


@pytest.fixture(autouse=True)
def nothing_is_compiled_before() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def assert_the_same(norm: nn.Module, other: nn.Module, run: Callable[..., torch.Tensor], *args: torch.Tensor) -> None:
    """Outputs, gradients and buffers, over several steps."""
    for seed in range(3):
        mine, theirs = (seeded(9, 6, 5, seed=seed).requires_grad_() for _ in range(2))
        outputs = run(mine, *args), other(theirs, *args)
        torch.testing.assert_close(*outputs)
        torch.autograd.backward([output.square().sum() for output in outputs if output.requires_grad])
        if outputs[0].requires_grad:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for own, expected in zip(norm.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}], ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_it_compiles_without_a_break_and_trains_alike(name: str, options: dict[str, Any]) -> None:
    if name == "masked" and options.get("momentum", 0) is None:
        options = {"momentum": 0.3}  # without a mask it is nn.BatchNorm1d, which breaks there: pytorch #194504
    norm = moved(MODULES[name](**options))
    expected = copy.deepcopy(norm)
    for training in (True, False):
        run: Any = torch.compile(norm.train(training), fullgraph=True, backend="aot_eager")
        assert_the_same(norm, expected.train(training), run)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("which", MASKS)
@pytest.mark.parametrize("training", [True, False])
def test_a_mask_breaks_no_graph_and_decides_nothing_in_it(which: str, training: bool, momentum: float | None) -> None:
    """One graph for every mask, of all values and of none too; NaN in the padding is no business of its."""
    norm = moved(MaskedBatchNorm1d(6, momentum=momentum)).train(training)
    expected = copy.deepcopy(norm)
    run: Any = torch.compile(norm, fullgraph=True, backend="aot_eager")
    x = seeded(9, 6, 5).masked_fill(MASKS["some"].unsqueeze(1) == 0, float("nan"))
    torch.testing.assert_close(run(x, MASKS["some"]), expected(x, MASKS["some"]))
    assert_the_same(norm, expected, run, MASKS[which])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_it_is_exported_in_either_mode(name: str, training: bool) -> None:
    norm, x = moved(MODULES[name]()).train(training), seeded(9, 6, 5)
    expected = copy.deepcopy(norm)(x)
    torch.testing.assert_close(torch.export.export(norm, (x,)).module()(x), expected)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
# TorchScript says itself, in torch 2.13, that it is no longer supported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [MaskedBatchNorm1d, lambda channels: converted(mask_)])
def test_what_was_exported_or_traced_with_a_full_mask_takes_any_other(make: Callable[[int], nn.Module]) -> None:
    norm, x = moved(make(6)).eval(), seeded(9, 6, 5)
    full = (x, MASKS["all"].bool())
    for run in (torch.export.export(norm, full).module(), torch.jit.trace(norm, full)):
        torch.testing.assert_close(run(x, MASKS["some"]), norm(x, MASKS["some"]))


@pytest.mark.parametrize("name", MODULES)
def test_copies_and_pickles_of_several_kinds_on_one_layer_are_the_layer(name: str) -> None:
    norm, x = moved(MODULES[name]()), seeded(9, 6, 5)
    for twin in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm)), pickle.loads(pickle.dumps(copy.copy(norm)))):
        assert type(twin) is type(norm)
        assert torch.equal(twin.train(norm.training)(x), copy.deepcopy(norm)(x))
        assert list(twin.state_dict()) == list(norm.state_dict())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_an_empty_batch_gives_what_batchnorm_gives(name: str, training: bool) -> None:
    norm, plain = moved(MODULES[name]()).train(training), moved(nn.BatchNorm1d(6)).train(training)
    assert norm(torch.empty(0, 6)).shape == plain(torch.empty(0, 6)).shape


def test_a_single_valid_value_moves_nothing_in_a_graph() -> None:
    """Elsewhere it is an error, which no graph can decide on."""
    norm, mask = moved(MaskedBatchNorm1d(6)), torch.zeros(9, 5)
    mask[3, 2] = 1
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    run: Any = torch.compile(norm, fullgraph=True, backend="aot_eager")
    output = run(seeded(9, 6, 5), mask)
    assert torch.equal(output[3, :, 2], norm.bias)
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())

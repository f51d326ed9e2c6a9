"""No network that a generator can think of comes out of folding as another function."""

import copy
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from onesigma.model.state import fingerprint
from onesigma.norm import fold_

NETS: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("random_nets.py")))
WILD: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("wild_nets.py")))

pytestmark = [
    pytest.mark.filterwarnings("ignore::onesigma._errors.NoEffectWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]


def outputs(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(model(x.clone()))


def check(seed: int) -> tuple[int, int]:
    """Fold one network; how many norms it had, and how many were folded."""
    net, builder = NETS["random_net"](seed)
    if not net.outputs:
        return 0, 0
    x = NETS["random_batch"](builder)
    original, before = copy.deepcopy(net), fingerprint(net)
    edits = fold_(net, x)
    # The batch of the proof, and others that it has not seen: larger, smaller, of the other sign.
    for batch in (x, NETS["random_batch"](builder), -3 * NETS["random_batch"](builder), x / 10):
        for found, expected in zip(outputs(net, batch), outputs(original, batch), strict=True):
            if expected.isfinite().all() and expected.numel():
                # Some of the networks lose digits on the way, folded or not; mistakes are of order one.
                assert (found - expected).abs().max() <= 1e-8 * expected.abs().max(), net
    edits.undo()
    assert fingerprint(net) == before, net
    return len(edits), len(edits.applied)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(seed=st.integers(0, 10**9))
def test_a_random_network_gives_what_it_gave(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_two_hundred_random_networks_give_what_they_gave_and_half_of_their_norms_are_gone() -> None:
    found = [check(seed) for seed in range(200)]
    norms, folded = (sum(column) for column in zip(*found, strict=True))
    assert norms > 500
    assert folded > 0.4 * norms


def check_wild(seed: int) -> tuple[int, int]:
    """Fold one network in float64 and one in float32: nothing wrong, nothing raised, nothing left behind."""
    net, builder = WILD["wild_net"](seed)
    if not net.outputs:
        return 0, 0
    x, other = (NETS["random_batch"](builder) for _ in range(2))
    original, before = copy.deepcopy(net), fingerprint(net)
    edits = fold_(net, x)
    assert all(edit.reason for edit in edits.refused), net
    # Of a part in float32 the rounding is seen, twice: of either model.
    is_cast = any(tensor.dtype == torch.float32 for tensor in net.state_dict().values())
    for batch, bound in ((x, 1e-10), (other, 1e-8), (-3 * other, 1e-8), (x / 10, 1e-8)):
        for found, expected in zip(outputs(net, batch), outputs(original, batch), strict=True):
            if expected.isfinite().all() and expected.numel():
                assert (found - expected).abs().max() <= (1e-4 if is_cast else bound) * expected.abs().max(), net
    edits.undo()
    assert fingerprint(net) == before, net
    if not is_cast:
        check_in_float32(original.float(), x.float())
    return len(edits), len(edits.applied)


def check_in_float32(net: nn.Module, x: torch.Tensor) -> None:
    """The distance from float64 is at most twice what it was, and a few units of the last place of the largest."""
    try:
        before, exact = outputs(net, x), outputs(copy.deepcopy(net).double(), x.double())
    except RuntimeError:  # of a network that casts by itself
        return
    fold_(net, x)
    for own, folded, expected in zip(before, outputs(net, x), exact, strict=True):
        if expected.isfinite().all() and own.isfinite().all() and expected.numel():
            floor = 4 * torch.finfo(torch.float32).eps * expected.abs().max()
            assert (folded - expected).abs().max() <= 2 * (own - expected).abs().max() + floor, net


@settings(deadline=None, max_examples=12, derandomize=True)
@given(seed=st.integers(0, 10**9))
def test_a_network_of_hooked_tied_parametrized_cast_and_broken_layers_gives_what_it_gave(seed: int) -> None:
    check_wild(seed)


@pytest.mark.slow
def test_three_hundred_wild_networks_give_what_they_gave_in_both_dtypes() -> None:
    found = [check_wild(seed) for seed in range(300)]
    norms, folded = (sum(column) for column in zip(*found, strict=True))
    assert norms > 500
    assert folded > 0.15 * norms

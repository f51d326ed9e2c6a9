"""`insert_`: put a norm before or after the nonlinearity of chosen layers of a live model."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn

from onesigma._errors import ConfigError, NoEffectWarning
from onesigma._typing import Batches
from onesigma.model.batches import first_batch
from onesigma.model.edits import Edit, Edits
from onesigma.model.names import unwrapped
from onesigma.model.state import random_state_preserved
from onesigma.norm.insertion import ACTION, Recipe, seat_norms
from onesigma.norm.kinds import KINDS, Kind
from onesigma.norm.migration import tell_of_reducer
from onesigma.norm.places import Place, look, places_in
from onesigma.norm.seats import take_seats
from onesigma.norm.statistics import eager, passes

__all__ = ["insert_"]

# A mean is then known to 0.01 std: more data would not show.
_ENOUGH_SAMPLES = 10_000


def insert_(
    model: nn.Module,
    batches: Batches,
    *,
    layers: Collection[str] | None = None,
    position: Literal["before", "after"] = "before",
    kind: Kind = "batch",
    preserve: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    num_groups: int = 32,
) -> Edits:
    """Insert a norm before or after the nonlinearity that follows each chosen layer.

    The norm has one γ = 1 and β = 0 per unit, and the dimension of the signal: channels on axis 1 behind convolutions,
    last behind linear layers, on sequences too. "before" is directly behind the layer; a bias that a BatchNorm takes
    out again is removed. Nonlinearities are found in the graph, so they may be functions. The norm becomes

    * an entry of its own where the layer is in an `nn.Sequential`, called like it with `_norm` behind;
    * else part of a pair that stands where the layer stood (`fc` → `fc.layer`, `fc.norm`); attributes such as
      `fc.weight` are still found there;
    * or, on the result of a function between functions, a part that the module's own forward calls.

    That the norm gets this signal and nothing reads past it is proven by running, in both modes. Checkpoints from
    before load into the model afterwards: their keys get the new names, and a removed bias goes into `running_mean`.

    Args:
        model: Any module that can be run; changed in place.
        batches: One batch, or an iterable; a BatchNorm is calibrated on all, up to 10 000 samples.
        layers: Names or patterns of linear layers or convolutions; all that feed a nonlinearity if None.
        position: "before" or "after" the nonlinearity.
        kind: "batch"; "layer" and "rms", over the channels of each position; "group".
        preserve: Set γ = √(running_var + eps) and β = running_mean (with the bias), so that eval computes what it
            did; a BatchNorm only, since the others normalize by the sample.
        optimizer: Gets the new parameters, in the group of the layer's bias, or else weight; a removed bias leaves
            its groups and its state. What it knows of other parameters stays, and a state dict of it from before loads
            afterwards: what was kept of each parameter goes to that parameter.
        num_groups: Of a group norm, at most; the largest divisor of the number of channels is taken.

    Returns:
        One edit per layer: `before` is the std of the signal at that place, `after` that behind the norm, over the
        first batch; with `preserve`, `error` is the largest relative change of the output in eval. `reason` tells what
        was done, and what the norm costs at inference: into what it folds, or why it does not.

    Warns:
        NoEffectWarning: No norm was inserted.
        OnesigmaWarning: The model is wrapped in DistributedDataParallel, which has to be done anew.

    Raises:
        ConfigError: Another position or kind, `preserve` with another kind, or a pattern that fits no layer.
        CaptureError: The model raised.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> edits = insert_(model, 100 * torch.randn(64, 4))
        >>> [name for name, _ in model.named_children()], round(edits[0].after, 3)
        (['0', '0_norm', '1', '2'], 1.0)
        >>> edits[0].reason
        'its bias was removed: the norm cancels it; folds back into 0'

    References:
        Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167; Ba et al. 2016, https://arxiv.org/abs/1607.06450;
        Wu & He 2018, https://arxiv.org/abs/1803.08494; Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
    """
    _check(position=position, kind=kind, preserve=preserve)
    module = unwrapped(model)
    with random_state_preserved(), eager():
        first, items = _first_and_all(batches)
        batch = first_batch([first]).owned_by(module)
        seen = look(module, batch)
        places = list(places_in(module, seen, layers=layers, position=position, batch=batch))
        wanted, refused = [[place for place in places if bool(place.reason) is flag] for flag in (False, True)]
        seats = take_seats(module, batch, wanted, seen=seen)
        recipe = Recipe(kind=kind, preserve=preserve, num_groups=num_groups, optimizer=optimizer)
        edits = seat_norms(module, batch, _enough(items), seats=seats, recipe=recipe)
    if edits.applied:
        tell_of_reducer(model, "insert_")
    return _noticed(edits, [*refused, *seats.refused])


def _check(*, position: str, kind: str, preserve: bool) -> None:
    if position not in ("before", "after"):
        raise ConfigError(f'insert_: position must be "before" or "after", got {position!r}.')
    if kind not in KINDS:
        raise ConfigError(f"insert_: kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if preserve and kind != "batch":
        raise ConfigError(
            f"insert_: preserve=True needs kind='batch', got {kind!r}, which normalizes each sample by its own "
            "statistics, so no γ and β make it the identity."
        )


def _first_and_all(batches: Batches) -> tuple[Any, Iterable[Any]]:
    """The first item, and all of them; an iterator is drawn from once."""
    items = passes(batches, again=False)
    iterator = iter(items)
    found = list(zip(range(1), iterator, strict=False))
    if not found:
        first_batch(items)  # raises, in its own words
    first = found[0][1]
    return first, chain([first], iterator) if isinstance(items, Iterator) else items


def _enough(items: Iterable[Any]) -> Iterator[Any]:
    rows = 0
    for item in items:
        yield item
        rows += first_batch([item]).num_samples
        if rows >= _ENOUGH_SAMPLES:
            return


def _noticed(edits: Edits, refused: Sequence[Place]) -> Edits:
    """The edits and the refusals together; a warning where nothing was done."""
    refusals = tuple(
        Edit(layer=place.linear.layer, action=ACTION, applied=False, reason=place.reason) for place in refused
    )
    edits += Edits(refusals)
    if not edits.applied:
        why = "; ".join(f"{edit.layer}: {edit.reason}" for edit in edits[:3]) or "no layer feeds a nonlinearity."
        warnings.warn(f"insert_ changed no layer: {why}", NoEffectWarning, stacklevel=3)
    return edits

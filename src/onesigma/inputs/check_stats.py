"""INP106: do these statistics, or these famous constants, fit this data?"""

from collections.abc import Mapping
from os import PathLike, fspath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from onesigma._errors import SourceError
from onesigma.inputs.loading import load
from onesigma.inputs.mismatch import Expected, Mismatch, Place, judge
from onesigma.inputs.robust import RobustScaler
from onesigma.inputs.scalers import ColumnScaler
from onesigma.inputs.sources import Source, open_source
from onesigma.inputs.sources.columns import close_to
from onesigma.inputs.standardize import fit_scaler

__all__ = ["CONSTANTS", "Constants", "check_stats"]


class Constants(NamedTuple):
    """Means and stds per channel that are copied from project to project, for pixels from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    mean_of_stds: bool = False


CONSTANTS: Mapping[str, Constants] = MappingProxyType({
    "imagenet": Constants((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), mean_of_stds=True),
    "cifar10": Constants((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), mean_of_stds=True),
    "cifar100": Constants((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": Constants((0.1307,), (0.3081,)),
})  # fmt: skip
"""The stds of imagenet and cifar10 are means of the images' own stds, below the std over all pixels
(https://github.com/pytorch/vision/issues/1439)."""


def check_stats(
    stats: str | PathLike[str] | Constants | ColumnScaler, source: Any, *, applied: bool = False, **reading: Any
) -> list[Mismatch]:
    """Return the columns whose statistics do not fit the data, with the likely cause; empty if all fit.

    A column fits if its mean lies within 0.5 std and its std within a factor of 2; with few rows the limits widen.

    Args:
        stats: A file that a scaler wrote, a fitted scaler, the name of famous constants ("imagenet", "cifar10",
            "cifar100", "mnist"), or `Constants`.
        source: Anything that `open_source` takes. Bytes (uint8) are taken as 0…1 where constants are.
        applied: The data are what the model gets: the statistics should have been applied to them, once.
        reading: `columns`, `axis`, `field`: see `open_source`.

    Raises:
        SourceError: The data cannot be read, or have another number of channels than the constants.
        ScalerFileError: The file of statistics cannot.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (1000, 3)).astype(float)  # never divided by 255
        >>> for mismatch in check_stats("imagenet", pixels)[:1]:
        ...     print(mismatch.cause, mismatch.message)
        unit-off 'x0' is about 255 times as large as the statistics say: convert its unit (mean 131, ...).
    """
    if isinstance(stats, str) and stats in CONSTANTS:
        stats = CONSTANTS[stats]
    table = open_source(source, **reading)
    if isinstance(stats, Constants):
        return _check_constants(stats, table, applied=applied)
    scaler = stats if isinstance(stats, ColumnScaler) else load(fspath(stats))
    return _check_scaler(scaler, table, applied=applied)


def _check_constants(constants: Constants, table: Source, *, applied: bool) -> list[Mismatch]:
    if len(table.names) != len(constants.mean):
        raise SourceError(
            f"{table.description}: {len(constants.mean)} channels are wanted, got {len(table.names)} columns; "
            f"name the channels with columns, or say which axis holds them."
        )
    unit = 255.0 if all(kind == pa.uint8() for kind in table.types) else 1.0
    columns = fit_scaler(table, nonfinite="ignore").columns
    found = []
    for name, mean, std in zip(table.names, constants.mean, constants.std, strict=True):
        place = Place(columns[name].mean / unit, columns[name].std() / unit)
        raw = Place(mean, std)
        expected = Expected(raw, Place(0.0, 1.0), Place(-mean / std, 1 / std), constants.mean_of_stds)
        found.append(judge(name, expected, place, count=columns[name].count, applied=applied))
    return [mismatch for mismatch in found if mismatch is not None]


def _check_scaler(scaler: ColumnScaler, table: Source, *, applied: bool) -> list[Mismatch]:
    layer = scaler.to_module()
    missing = [_missing(name, table) for name in layer.names if name not in table.names]
    names = [name for name in layer.names if name in table.names]
    if not names:
        return missing
    fitted = fit_scaler(table, method=scaler.kind, nonfinite="ignore")  # type: ignore[arg-type]
    theirs, ours = _places(fitted.scaler), _places(scaler)
    found = []
    for name, raw, once, twice in zip(layer.names, *_mapped(scaler, list(ours.values())), strict=True):
        if name in names:
            count = fitted.columns[name].count
            expected = Expected(raw, once, twice)
            found.append(judge(name, expected, theirs[name], count=count, applied=applied))
    return missing + [mismatch for mismatch in found if mismatch is not None]


def _missing(name: str, table: Source) -> Mismatch:
    message = f"{name!r} is in the statistics but not in {table.description}; {close_to(name, table.names)}"
    return Mismatch(column=name, cause="missing-column", value=0.0, limit=1.0, message=message)


def _places(scaler: ColumnScaler) -> dict[str, Place]:
    """Where a scaler found each column; robust ones by median and quantile range."""
    if isinstance(scaler, RobustScaler):
        plain = RobustScaler.from_columns(scaler.columns_, sketch_size=scaler.sketch_size)
        pairs = np.stack([np.asarray(plain.center_), np.asarray(plain.scale_)], axis=1).tolist()
        return {name: Place(*pair) for name, pair in zip(scaler.columns_, pairs, strict=True)}
    return {name: Place(moments.mean, moments.std()) for name, moments in scaler.columns_.items()}


def _mapped(scaler: ColumnScaler, raw: list[Place]) -> tuple[list[Place], list[Place], list[Place]]:
    """Places before the map, after it, and after it twice: the map is affine, so a std follows from two points."""
    once = _map(scaler, raw)
    return raw, once, _map(scaler, once)


def _map(scaler: ColumnScaler, places: list[Place]) -> list[Place]:
    means = np.array([place.mean for place in places])
    above = means + np.array([place.std for place in places])
    layer = scaler.to_module()
    with torch.no_grad():
        low, high = layer(torch.from_numpy(np.stack([means, above]))).numpy()
    return [Place(mean, abs(top - mean)) for mean, top in zip(low.tolist(), high.tolist(), strict=True)]

"""The same tally by tensor operations, for tables of floats on any device that has doubles."""

import numpy as np
import torch

from onesigma.numbers.kernel import REACH, ROWS, SUMS, Array
from onesigma.numbers.lanes import empty, new_lanes
from onesigma.numbers.tally import Tally
from onesigma.numbers.tensors import tensor_array

__all__ = ["tally_of_tensor"]

_CHUNK = 1 << 24  # values per turn: 128 MiB for each tensor of doubles
_CUT = 1.5 * 2.0**32


def tally_of_tensor(table: torch.Tensor) -> Tally:
    """The tally of a table of floats, computed where it is: bit for bit that of `Tally.of`.

    Every limb, product and sum of 512 products is exact (see `kernel`), so the order in which a device adds is of no
    account. Columns that four limbs do not hold are copied to the CPU.

    Args:
        table: Shape (rows, columns), of a floating type.

    Example:
        >>> tally_of_tensor(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum_of(1)
        Fraction(6, 1)
    """
    tally = Tally.of([np.empty((0, table.shape[1]), np.float64 if table.dtype == torch.float64 else np.float32)])
    rows = max(ROWS, min(_CHUNK // max(table.shape[1], 1), ROWS * ROWS) // ROWS * ROWS)
    for start in range(0, len(table), rows):
        if table.shape[1]:
            _add_part(tally, table.detach()[start : start + rows])
    return tally


def _add_part(tally: Tally, part: torch.Tensor) -> None:
    """Add at most 512 · 512 rows."""
    x = part.double()
    finite = x.isfinite()
    counts = torch.stack([x.isnan().sum(0), (x == torch.inf).sum(0), (x == -torch.inf).sum(0)], dim=1)
    low = torch.where(finite, x, torch.inf).amin(0).cpu().numpy()
    high = torch.where(finite, x, -torch.inf).amax(0).cpu().numpy()
    x = torch.where(finite, x, 0.0)
    size = np.frexp(np.maximum(np.where(np.isfinite(high), np.maximum(-low, high), 0.0), 2.0**-1022))[1] - 1
    shift = np.where(np.abs(size) < REACH, 0, np.clip(size, -1000, 1000)).astype(np.int64)
    x = x * torch.from_numpy(np.ldexp(1.0, -shift)).to(x.device)
    pockets, rest = _pockets(x, size - shift)
    hard = (rest != 0).any(0).cpu().numpy()
    pockets[:, hard] = 0
    lanes = new_lanes(np.arange(part.shape[1]), limits=(0, 0), grid=size - shift, shift=shift)
    lanes.pockets[:] = pockets
    added = Tally.zero(tally.layout, part.shape[1])
    empty(lanes, added.state, bounds=False)
    added.finite[:], added.nonfinite[:] = finite.sum(0).cpu().numpy(), counts.cpu().numpy()
    added.low[:], added.high[:] = low, high
    tally.add(added)
    for column in np.flatnonzero(hard).tolist():
        _add_copied(tally[column : column + 1], part[:, column : column + 1])


def _pockets(x: torch.Tensor, grid: Array) -> tuple[Array, torch.Tensor]:
    """Sums of limbs and of their products, in units of the limbs, shape (9, columns), and what four limbs left."""
    cut = torch.from_numpy(np.ldexp(_CUT, grid)).to(x.device)
    limbs = []
    for _ in range(4):
        limb = (x + cut) - cut
        x, cut = x - limb, cut * 2.0**-22
        limbs.append(limb)
    a, b, c, d = limbs
    products = [a * a, a * b, 2 * a * c + b * b, a * d + b * c, 2 * b * d + c * c, c * d, d * d]
    sums = [_blocks(terms) for terms in [a + b, c + d, *products]]
    pockets = np.empty((SUMS, len(grid)), np.int64)
    for k, blocks in enumerate(sums):
        unit = grid - 42 - 44 * k if k < 2 else 2 * grid - 40 - 22 * (k - 2)
        scale = torch.from_numpy(np.ldexp(1.0, -unit)).to(x.device)
        pockets[k] = (blocks * scale).long().sum(0).cpu().numpy()
    return pockets, x


def _blocks(terms: torch.Tensor) -> torch.Tensor:
    """Sums over blocks of 512 rows: (rows, columns) to (blocks, columns)."""
    missing = -len(terms) % ROWS
    padded = torch.nn.functional.pad(terms, (0, 0, 0, missing)) if missing else terms
    return padded.reshape(-1, ROWS, terms.shape[1]).sum(1)


def _add_copied(target: Tally, column: torch.Tensor) -> None:
    """Add the sums of a column, whose counts and bounds are known, by way of the CPU."""
    copied = Tally.of([tensor_array(column)])
    sums = Tally.zero(target.layout, 1)
    sums.total[:], sums.squares[:] = copied.total, copied.squares
    target.add(sums)

"""Why the compiled sums are exact, and how they are compiled: no order, split or thread count can matter.

A block of at most 512 rows of a column has an exponent E with |x| < 2^(E+1). Adding and subtracting 1.5·2^(E+32) leaves
the multiple of 2^(E−20) next to x: its first limb, 22 bits. The rest is cut at 2^(E−42), 2^(E−64) in the same way
(error-free extraction; Rump, Ogita & Oishi 2008, https://doi.org/10.1137/050645671). A product of two limbs has 42 bits
and a sum of 512 of them 51, so doubles add them without rounding, fused or not. Four limbs hold doubles whose exponents
spread over 34 bits. Squares of floats need no limbs, a double holds them: a sum that starts at 2^(2E+12) rounds each to
a multiple of 2^(2E−40), and what is left over, below 2^(2E−41), is added apart; both fit where exponents spread over 19
bits. `scan_floats` and `scan_doubles` work on the last block's grid; `settle` keeps the lanes whose bounds show that
it held, and sets the others' grids for another scan.
"""

import logging
from collections.abc import Callable, Collection
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numba.core import event

__all__ = ["LANES", "PADDING", "REACH", "ROWS", "STEP", "SUMS", "TILE", "Array", "compiled"]

_F = TypeVar("_F", bound=Callable[..., Any])

ROWS = 512
"""Rows of a block: what the 53 bits of a double have room for."""

STEP = 4
"""Rows per turn of the inner loop, which loads and stores the sums once for all; a scan's rows are a multiple."""

LANES = 128
"""Values side by side in one scan. A table of fewer columns is read as one with several rows in a line."""

TILE = 512
"""Columns of a wide table in one scan: long stretches of memory."""

PADDING = 40
"""Doubles that stagger the rows of sums in the cache, where they would collide at a distance of 4096 bytes."""

SUMS = 9
"""Rows of sums: Σx in two parts and Σx² in seven, from the highest limbs down."""

REACH = 380
"""Exponents beyond which products of limbs over- or underflow, so that values are scaled."""

Array: TypeAlias = np.ndarray[Any, Any]


class _Announcer(event.Listener):  # type: ignore[misc]
    """Says at INFO what is compiled; it happens once per machine, where the cache can be written."""

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if (function.__module__ or "").startswith(__package__ or __name__):
            logging.getLogger(__name__).info("compiling %s for this CPU, once", function.__name__)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register("numba:compile", _Announcer())


def compiled(function: _F, *, fastmath: Collection[str] = ("contract",)) -> _F:
    """`numba.njit`, kept on disk where that is writable, without the GIL. "contract" may fuse exact products only."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
    try:
        jitted: _F = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        jitted = numba.njit(**options)(function)
    return jitted

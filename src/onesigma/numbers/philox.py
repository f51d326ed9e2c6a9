"""Philox4x32-10 for eight counters side by side, as vector instructions.

Written out and not left to the compiler for one reason: the high half of a product is moved down by a shuffle, not by a
shift, which on most processors waits for the same port as the multiplication.

Reference: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", https://doi.org/10.1145/2063384.2063405
"""

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

__all__ = ["eight_blocks"]

_LANES, _ROUNDS = 8, 10
_MULTIPLIERS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)

_INT, _HALF = ir.IntType(64), ir.IntType(32)
_VECTOR, _HALVES = ir.VectorType(_INT, _LANES), ir.VectorType(_HALF, 2 * _LANES)


def _constant(*values: int) -> Any:
    return ir.Constant(_VECTOR, list(values) * (_LANES // len(values)))


def _shuffled(build: Any, vector: Any, order: tuple[int, int]) -> Any:
    """Each lane's halves, of which 0 is the low one, in another order."""
    mask = ir.Constant(_HALVES, [2 * lane + half for lane in range(_LANES) for half in order])
    halves = build.bitcast(vector, _HALVES)
    return build.bitcast(build.shuffle_vector(halves, halves, mask), _VECTOR)


def _spread(build: Any, value: Any) -> Any:
    first = build.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_HALF, 0))
    return build.shuffle_vector(first, first, ir.Constant(ir.VectorType(_HALF, _LANES), [0] * _LANES))


def _words(build: Any, counter: Any, key: Any) -> Any:
    """The blocks' words in order, two to a lane.

    32-bit numbers stand in 64-bit lanes whose high halves may hold anything: the products read the low ones.
    """
    low, shift = _constant(0xFFFFFFFF), ir.Constant(_INT, 32)
    counters = build.add(_spread(build, counter), _constant(*range(_LANES)))
    a, b, c, d = counters, build.lshr(counters, _constant(32)), _constant(0), _constant(0)
    keys = [key, build.lshr(key, shift)]
    for turn in range(_ROUNDS):
        last = turn == _ROUNDS - 1
        products = [
            build.mul(build.and_(x, low), _constant(times)) for x, times in zip((a, c), _MULTIPLIERS, strict=True)
        ]
        # The last round leaves its two words of a product side by side, so that a swap packs them.
        high_0, high_1 = (_shuffled(build, product, (1, 0) if last else (1, 1)) for product in products)
        left, right = (build.xor(x, _spread(build, part)) for x, part in zip((b, d), keys, strict=True))
        if last:
            left, right = build.and_(left, low), build.and_(right, low)
        a, b, c, d = build.xor(high_1, left), products[1], build.xor(high_0, right), products[0]
        keys = [build.add(part, ir.Constant(_INT, step)) for part, step in zip(keys, _WEYL, strict=True)]
    order = [lane + half * _LANES for lane in range(_LANES) for half in (0, 1)]
    return build.shuffle_vector(a, c, ir.Constant(_HALVES, order))


@intrinsic  # type: ignore[untyped-decorator]
def eight_blocks(_context: Any, words: Any, place: Any, counter: Any, key: Any) -> Any:
    """Write the blocks `counter`, …, `counter` + 7 of a key's stream to `words[place : place + 16]`."""

    def emit(context: Any, build: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, build, args[0])
        values = _words(build, args[2], args[3])
        target = build.bitcast(build.gep(array.data, [args[1]]), values.type.as_pointer())
        build.store(values, target, align=8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.uint64, types.uint64), emit

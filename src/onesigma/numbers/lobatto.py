"""The Gauss–Lobatto rule on [−1, 1], and what else can be told from values at its nodes.

Both ends are nodes, unlike in Gauss–Legendre: a kink in the last hair of a panel would fall behind every Gauss
node and go unseen.
"""

from typing import TypeAlias

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

__all__ = ["DERIVATIVE", "NODES", "OPEN_WEIGHTS", "ORDER", "WEIGHTS", "Array"]

Array: TypeAlias = NDArray[np.float64]

ORDER = 16


def _lobatto(order: int) -> tuple[Array, Array]:
    """Nodes and weights on [−1, 1]."""
    last = legendre.Legendre.basis(order - 1)
    nodes = np.concatenate(([-1.0], np.sort(last.deriv().roots().real), [1.0]))
    return nodes, 2 / (order * (order - 1) * last(nodes) ** 2)


def _open(nodes: Array) -> Array:
    """Weights on the inner nodes alone: what a rule says that does not look at the ends."""
    powers = legendre.legvander(nodes[1:-1], len(nodes) - 3)
    inner = np.linalg.solve(powers.T, np.eye(len(nodes) - 2)[0] * 2)
    return np.concatenate(([0.0], inner, [0.0]))


def _differentiation(nodes: Array) -> Array:
    """The matrix that takes values at the nodes to the derivative of their interpolant there."""
    basis = [legendre.Legendre.fit(nodes, row, len(nodes) - 1, domain=[-1, 1]) for row in np.eye(len(nodes))]
    return np.stack([polynomial.deriv()(nodes) for polynomial in basis], axis=1)


NODES, WEIGHTS = _lobatto(ORDER)
OPEN_WEIGHTS = _open(NODES)
DERIVATIVE = _differentiation(NODES)

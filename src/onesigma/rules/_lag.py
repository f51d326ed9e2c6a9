"""How long running statistics remember that they started at (0, 1)."""

__all__ = ["ENOUGH_UPDATES", "MOST_LEFT"]

MOST_LEFT = 0.05
"""The share of its start from which on an average is still on its way: 29 batches at momentum 0.1."""

ENOUGH_UPDATES = 29
"""So many batches, where only their number is known."""

"""Room: norm."""

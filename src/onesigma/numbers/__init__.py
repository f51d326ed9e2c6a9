"""Room: numbers."""

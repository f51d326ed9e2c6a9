"""Room: init."""

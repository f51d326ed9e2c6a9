"""Ratios against peers, taken in one run: `python -m benchmarks [NAME …]`."""

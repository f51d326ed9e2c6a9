# `make help` lists what there is; `make check` is exactly what CI runs after the tests.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help install demo test check lint types walls bench clean
.DEFAULT_GOAL := help

help:  ## This list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: $(VENV)/.dev  ## Virtual environment with everything, versions as in constraints.txt

# pip and not uv or poetry: torch's CPU build is found by pip alone where it lies on disk.
$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --editable '.[dev]'
	touch $@

demo: $(VENV)/.run  ## The main job on real data: measure, judge, repair, prove, train both ways
	$(BIN)/onesigma demo

test: $(VENV)/.dev  ## The whole test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile -rs

check: lint types walls  ## Lint, types and walls

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

walls: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev  ## Ratios against peers, in one run
	$(BIN)/python -m benchmarks

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

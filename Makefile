# make train: set everything up and run the main job.   make test: set everything up and run all checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TRAIN_ARGS ?= +space=glit

.PHONY: train test lint types bench docs clean

train: $(STAMP)
	$(BIN)/python -m vitsearch.train $(TRAIN_ARGS)

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# What the pages print is made again, then they are built into site/; warnings are errors.
docs: $(STAMP)
	$(BIN)/python docs/outputs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# An existing .venv is reused; it is updated when pyproject.toml changes.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist site outputs multirun .pytest_cache .mypy_cache .ruff_cache .hypothesis

# `make test` creates .venv, installs with exact versions and runs every check.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup test reproduce lint clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

lint: setup
	$(BIN)/ruff check proofs dualform empirical tests
	$(BIN)/ruff format --check proofs dualform empirical tests

test: lint
	$(BIN)/python -m pytest -q

reproduce: setup
	OMP_NUM_THREADS=1 $(BIN)/dualform reproduce --out results

clean:
	rm -rf build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

# `make test` and `make reproduce` set everything up first: .venv, with the exact versions of
# constraints.txt. Everything else is for development.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CODE := proofs dualform empirical tests

.PHONY: setup test reproduce lint deep clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,figures]'
	touch $@

lint: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -q -n 2

reproduce: setup
	$(BIN)/dualform reproduce --out results

# Many new random examples of every statement, on the GPU too where there is one.
deep: setup
	DUALFORM_PROFILE=deep $(BIN)/python -m pytest -q -k "dual_form and rounding_bound"

clean:
	rm -rf build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

# `make test` and `make reproduce` set everything up first: .venv, with the exact versions of
# constraints.txt. Everything else is for development.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CODE := proofs dualform empirical tests

.PHONY: golden setup test reproduce study momentum lint deep third-party identities api install-sizes clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	touch $@

lint: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# A worker takes whole files, so that what a file sets up (Coq, environments, reports) is made once.
test: lint
	$(BIN)/python -m pytest -q -n 2 --dist loadscope

reproduce: setup
	$(BIN)/dualform reproduce --out results

# The longer sibling: five seeds, 36 rates, every control, the calibration and the report.
study: setup
	$(BIN)/dualform calibrate --out results-study
	$(BIN)/dualform reproduce --protocol sound --seed 1 --seed 2 --seed 3 --seed 4 --seed 5 \
	  --limit 200 --control all --out results-study
	$(BIN)/dualform momentum --learned --workers 2 --limit 200 --out results-study

# Models with and without momentum attention on a folder of books: make momentum TEXT=DIR.
TEXT ?= generated
momentum: setup
	$(BIN)/dualform momentum --learned --workers 2 --limit 200 --text $(TEXT) --out results-momentum

# A million drawn cases of every statement and variant; `--device cuda` by hand where there is one.
deep: setup
	$(BIN)/python -m empirical.cli.fuzz --cases 1000000 --out docs/results/fuzz

# The conformance kit on other people's code, in a folder of its own (1.1 GB).
third-party: setup
	$(BIN)/pip install --quiet --no-deps --upgrade --target .third-party \
	  -r empirical/verification/conformance/requirements.txt
	PYTHONPATH=.third-party $(BIN)/python -m empirical.verification.conformance.run --out docs/results/third-party

# docs/identities.md, which a test compares with the verdicts of today.
identities: setup
	$(BIN)/python -m empirical.verification.identities_page --out docs/identities.md

# The tests once under each of several kernels and thread counts, which move the last bits of
# floats: hours. make portability ARGS="--settings haswell --out docs/results/portability".
portability: setup
	$(BIN)/python -m tests.portability $(ARGS)

# Rooms, floors, arrows, circles and modules a folder, from imports alone; tests hold the limits.
rooms: setup
	$(BIN)/python -m tests.rooms

# The lowest versions that pyproject.toml allows, and what shows soonest that one is too low. torch
# is that of the next line: the lowest one is built for GPUs alone where no other index is named.
LOWEST_TORCH ?= 2.13.0
LOWEST := build/lowest
SMOKE := $(addprefix tests/,cli/test_bad_input.py dualform/test_rounding.py \
  dualform/variants/test_variants.py empirical/models/test_architectures.py \
  empirical/momentum/test_attention.py empirical/report/test_report.py empirical/results \
  empirical/study/test_reproduce.py proofs/test_facts.py proofs/test_latex.py)

lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) tests/lowest.py | grep -v "^torch==" > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/constraints.txt \
	  torch==$(LOWEST_TORCH) --editable '.[all]'
	$(LOWEST)/bin/python -m pytest -q $(SMOKE)

# What the tests use beside Python, on Debian: LaTeX, Coq with MathComp, a browser.
system:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  texlive-latex-base texlive-latex-recommended texlive-fonts-recommended \
	  coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra chromium chromium-driver

.PHONY: portability rooms lowest system

# docs/api.md, the public names, which a test compares with the sources.
api: setup
	$(BIN)/python -m empirical.verification.api_page --out docs/api.md

# What each extra weighs when it is installed for real (a venv each, in a temporary folder).
install-sizes: setup
	$(BIN)/python -m tests.support.packaging.install_sizes

clean:
	rm -rf build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache

# What another commit writes against what this tree writes: make golden BEFORE=COMMIT.
golden: setup
	$(BIN)/python -m tests.golden $(BEFORE)

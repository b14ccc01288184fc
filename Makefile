# All that is needed: make, and Python 3.11 or newer with pip. Everything else goes into .venv in this folder.
#
#   make quickstart   the whole way on real images, in a few minutes: runs/quickstart
#   make test         the test suite
#   make test-faults  what happens when a run is killed, a disk is full, a file is damaged: a table
#   make test-nightly the tests that take minutes each
#   make families     the networks that people really use, one by one, in about an hour: docs/families.md
#   make benchmarks   what it costs, measured side by side on an idle machine: docs/performance.md
#   make results      whether auxiliary labels help, over methods and seeds, in many hours: docs/results.md
#   make lint         ruff, pyright, import-linter
#   make build        source distribution and wheel, in dist/
#   make docs         rewrite what docs/ and README.md show of schemas, files and drawings
#
# PIP_ARGS reaches pip, for example to choose a build of torch.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
PYTEST_ARGS ?= -n 2
FAMILIES_ARGS ?= -j 2
BENCHMARKS_ARGS ?=
RESULTS_ARGS ?=
# The newest of these that is 3.11 or newer; PYTHON=... chooses another.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	if "$$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "$$name"; break; fi; done)

.PHONY: help quickstart test test-nightly families benchmarks results lint lint-format lint-ruff lint-pyright lint-imports build docs clean
help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "graphnas needs Python 3.11 or newer; set PYTHON=/path/to/python" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "graphnas needs Python 3.11 or newer; $(PYTHON) is older; set PYTHON=/path/to/python" >&2; exit 1; }
	@# Some systems split ensurepip off; then the system's pip puts pip into the environment.
	"$(PYTHON)" -m venv $(VENV) || \
		{ "$(PYTHON)" -m venv --clear --without-pip $(VENV) && "$(PYTHON)" -m pip --python $(BIN)/python install --quiet pip; }

# The stamps make a second call quick: pip runs again only when what is installed would change.
$(VENV)/.installed: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable '.[dev]'
	@touch $@

quickstart: $(VENV)/.installed
	$(BIN)/graphnas search examples/quickstart/search.yaml --out runs/quickstart --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-faults: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/faults -m ""

test-nightly: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m nightly

# Resumable: what has a result of this very code in runs/families is not run again.
families: $(VENV)/.installed-test
	$(BIN)/python -m tests.families --draw 4 --write docs/families.md $(FAMILIES_ARGS)

# BENCHMARKS_ARGS="--reference DIR" compares with the authors' own code too.
benchmarks: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.page $(BENCHMARKS_ARGS)

# Resumable. RESULTS_ARGS="--only default options --seeds 3" runs some of it.
results: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.doom_rooms $(RESULTS_ARGS)

lint: lint-format lint-ruff lint-pyright lint-imports  # `make -k lint` goes on after a failure
lint-format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check
lint-ruff: $(VENV)/.installed-dev
	$(BIN)/ruff check
lint-pyright: $(VENV)/.installed-dev
	$(BIN)/pyright
lint-imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

build: $(VENV)/.installed-test
	$(BIN)/python -m build

docs: $(VENV)/.installed
	$(BIN)/python docs/specs.py
	$(BIN)/python docs/copies.py
	$(BIN)/graphnas compile examples/quickstart/search.yaml --graph docs/quickstart.svg
	$(BIN)/python docs/pictures.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

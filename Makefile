# The two commands of the README, and the few that a contributor uses. Everything happens inside .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# A file of tests stays with one worker, for its fixtures; in the order of the tree, as the slowest files hold the fewest tests.
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Hundreds of processes are started here: each would compile the package anew where an environment forbids to keep what is compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run run-all test test-fast lint format install dev lock up down clean
.DEFAULT_GOAL := help

help:            ## this list
	@grep -hE '^[a-z-]+: *.*##' $(MAKEFILE_LIST) | sed -E 's/: *.*## */\t/' | expand -t 14

run: install     ## the whole chain on the embedded data
	$(BIN)/genmill run

run-all: install ## the same with every model of params.yaml
	$(BIN)/genmill run --all

test: dev lint   ## lint, types, layers and every test
	$(PYTEST)

test-fast: dev   ## the quick tests
	$(PYTEST) -m "not slow"

lint: dev        ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev      ## write the format that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

up: install      ## start the servers and the worker
	$(BIN)/genmill up

down: install    ## stop them
	$(BIN)/genmill down

install: $(VENV)/.installed   ## .venv with the pinned base requirements
dev: $(VENV)/.installed-dev   ## the same with the tools for development

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Genmill needs Python 3.11: install it, or run 'make PYTHON=/path/to/python3.11 ...'."; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Genmill needs Python 3.11, and $(PYTHON) is another version: run 'make PYTHON=/path/to/python3.11 ...'."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Installing the pinned requirements into $(VENV) (once; a few minutes)"
	@$(PIP) install --constraint requirements.lock --editable . || { echo "The installation failed: mend what pip names above and run make again."; exit 2; }
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements.lock | $(BIN)/python
	@echo "Installing the pinned requirements and the development tools into $(VENV) (once; a few minutes)"
	@$(PIP) install --constraint requirements.lock --editable ".[dev]"
	@touch $@ $(VENV)/.installed

lock:            ## pin every package of every extra anew (needs uv on PATH)
	uv pip compile --universal pyproject.toml --all-extras --no-header --no-emit-index-url --no-annotate --quiet --output-file requirements.lock.new
	sed -e 's/ ;.*//' -e '/^nvidia-/d' -e '/^triton=/d' -e '/^cuda-/d' requirements.lock.new > requirements.lock
	rm requirements.lock.new

clean:           ## remove what tools cached (no data, no models)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info

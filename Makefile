# The environment in .venv makes itself, and is made again where a requirements file changed.
PYTHON ?= python3
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
TESTS := tests
SNAKEMAKE = $(BIN)/python -m snakemake
OPTIONS = --cores $(CORES) $(ARGS) $(if $(SCENARIO),--config scenario=$(SCENARIO))
PIP = $(BIN)/python -m pip install $(if $(CI),--quiet) --disable-pip-version-check --no-input
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal
OLD_ENOUGH = import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))

# One BLAS thread per job: jobs run side by side, and sums come out the same everywhere.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help run regenerate-figures check test lint format docs install install-dev
.DEFAULT_GOAL := help

help:                ## this list; options: SCENARIO=NAME CORES=2 PYTHON=python3.12 ARGS="--dry-run"
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 28

run: install         ## everything, from images to figures
	$(SNAKEMAKE) $(OPTIONS)

regenerate-figures: install ## the figures again, from the tables
	$(SNAKEMAKE) regenerate_figures $(OPTIONS)

check: install-dev   ## code's form and the fast laws: a minute, no Snakemake
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports --no-logo
	$(PYTEST) -q -m 'not slow and not snakemake' $(TESTS)

lint: install-dev    ## checks of form alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports --no-logo
	$(SNAKEMAKE) --lint

test: lint           ## checks of form, then every test
	$(PYTEST) $(TESTS)

docs: install        ## config/README.md and docs/metrics.md, from the settings and the metrics
	$(BIN)/python docs/generate.py

format: install-dev  ## code and rules into their one layout
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/installed: requirements.txt
	@$(BIN)/python -c 'import pip; $(OLD_ENOUGH)' 2>/dev/null || { $(PYTHON) -c '$(OLD_ENOUGH)' 2>/dev/null || { echo \
	  'weightspace needs Python 3.11 or newer with venv, which "$(PYTHON)" is not: name one, as in make run PYTHON=python3.12' >&2; \
	  exit 1; }; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'installing requirements.txt into $(VENV): minutes the first time'
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@$(PIP) -r requirements-dev.txt
	@touch $@

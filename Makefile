# The one entry point. Every target makes the environment that it needs, and again when its files have changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Also for what pip fetches to build the package with.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
INPUTS := pyproject.toml constraints.txt src/mantrap/__init__.py
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
DOCS := $(BIN)/zensical build --clean --strict

.DEFAULT_GOAL := help
.PHONY: help demo test trained check lint parity docs format clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(CORE) ## train a clean and a backdoored model on synthetic signs, audit both, say where the reports are
	$(BIN)/mantrap demo

test: $(DEV) ## the fast suite
	$(BIN)/python -m pytest -n 2

trained: $(DEV) ## the suite that trains models, minutes; real images where ../shared is there
	$(BIN)/python -m pytest -n 2 -m slow

check: lint docs ## everything that CI checks: style, types, layers, ratchet, documentation, fast suite
	$(BIN)/python -m pytest -n 2

lint: $(DEV) ## style, types, layers, ratchet
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/ratchet.py

parity: $(CORE) ## measure what docs/parity.md lacks (AGAIN=--again: all of it; hours; goes on where it was stopped)
	MANTRAP_DATA=$${MANTRAP_DATA:-../shared/data} $(BIN)/python benchmarks/parity.py $(AGAIN)

docs: $(DEV) ## build the documentation into site/
	$(DOCS)

format: $(DEV) ## bring the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) site .cache dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(CORE): $(INPUTS) | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(DEV): $(INPUTS) | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	@touch $@ $(CORE)

# `make run` measures this machine and draws the report; `make test` runs every check; `make asv` follows the last commit and
# writes asv's pages. All do their own set-up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test asv clean

run: $(VENV)/.installed
	$(BIN)/sepconv-bench run

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

asv: $(VENV)/.installed-dev
	$(BIN)/asv machine --yes
	$(BIN)/asv run --record-samples 'HEAD^!'
	$(BIN)/asv publish
	@echo 'now: $(BIN)/asv preview'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sepconv-bench needs Python >= 3.11; $(PYTHON) is older (make PYTHON=python3.12 ...)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)

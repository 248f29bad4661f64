# `make run` measures this machine into results/ and draws the report, `make report-commit` puts that into reports/; `make test` runs
# every check, `make test-all` with every parameter; `make docs` builds the documentation; `make asv` follows the last commit and
# writes asv's pages; `make gpu` checks, tunes and measures the CUDA kernels where there is a GPU, `make gpu-report` measures what says
# most about them in a quarter of an hour. All do their own set-up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run report-commit test test-all lint types imports pytest docs asv gpu gpu-report clean

run: $(VENV)/.installed
	$(BIN)/sepconv-bench run

# The latest results and their report into reports/<machine>, for git: the one way there but --output.
report-commit: $(VENV)/.installed
	@test -e results/latest/results.sqlite || { echo "results/latest holds nothing; make run measures it" >&2; exit 2; }
	@folder=reports/$$(readlink results/latest | sed -E 's/-[0-9]{4}-[0-9]{2}-[0-9]{2}(-[0-9]+)?$$//') && mkdir -p $$folder && \
	cp results/latest/results.sqlite $$folder/ && $(BIN)/sepconv-bench report $$folder && git add $$folder && echo "now: git commit"

# What is imported is compiled once: where Python is told to keep no byte code, as in many containers, the hundreds of processes that
# the tests start would each compile all that they import.
test test-all pytest: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.installed-dev lint
	@$(MAKE) --no-print-directory --jobs 2 pytest types imports

# Every parameter of every test, and those that take long; .github/workflows/nightly.yml runs it.
test-all: $(VENV)/.installed-dev lint
	@$(MAKE) --no-print-directory --jobs 2 PYTEST_OPTIONS=--all pytest types imports

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

imports: $(VENV)/.installed-dev
	$(BIN)/lint-imports

# Three processes on two cores: a test that waits, for a process to start or to end, leaves its core to another.
pytest: $(VENV)/.installed-dev
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --failed-first $(PYTEST_OPTIONS)

# The site, into docs/_build/html. It runs the tutorial, and draws the reports that the gallery links to; a broken
# link is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	for results in reports/*/results.sqlite; do \
	    folder=$$(dirname $$results) && $(BIN)/sepconv-bench report $$folder --output docs/_build/html/$$folder || exit; \
	done
	@echo 'now open docs/_build/html/index.html'

asv: $(VENV)/.installed-dev
	$(BIN)/asv machine --yes
	$(BIN)/asv run --record-samples 'HEAD^!'
	$(BIN)/asv publish
	@echo 'now: $(BIN)/asv preview'

# CUDA=cuda12 where the driver is older than CUDA 13.
CUDA ?= cuda13
gpu: $(VENV)/.installed-gpu
	$(BIN)/sepconv-bench machine --device cuda
	$(BIN)/pytest -m gpu
	$(BIN)/python experiments/cuda_tiles.py
	$(BIN)/sepconv-bench run --device cuda --grid gpu
	$(BIN)/sepconv-bench mobilenet --device cuda

# In so many seconds, on a GPU that is lent: the shapes of the headline first, in three dtypes, then what there is time for. The
# report is drawn when the time is over; another `make gpu-report` goes on where this one stopped.
GPU_SECONDS ?= 780
GPU_RESULTS ?= results/gpu-report
GPU_KERNELS := cuda.*.tiled,cuda.*.fused,cuda.*.tensor,cuda.*.torch
GPU_RUN := $(BIN)/sepconv-bench run --device cuda --dtype f32,tf32,bf16 --kernels '$(GPU_KERNELS)' --resume --output $(GPU_RESULTS)
gpu-report: $(VENV)/.installed-gpu
	-timeout --signal INT --kill-after 60 $(GPU_SECONDS) sh -c "\
	$(GPU_RUN) --M 64 --N 128 --D_G 56,112 --batch 8,32 --time-limit 5 && \
	$(GPU_RUN) --grid gpu --time-limit 3"
	@test -e $(GPU_RESULTS)/report.md && echo 'now read $(GPU_RESULTS)/report.md'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sepconv-bench needs Python >= 3.11; $(PYTHON) is older (make PYTHON=python3.12 ...)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# Python compiles what is imported; to compile all of it first takes longer than to install it.
$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(CUDA)]'
	touch $@

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)

# The Python that makes the virtual environment: the first from 3.11 to 3.13, which are
# tested; without one, the first that is newer.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for newest in 13 99; do \
	for p in python3 python3.12 python3.11 python3.13 python3.14; do \
	$$p -c "import sys; sys.exit(not 11 <= sys.version_info[1] <= $$newest)" \
	2>/dev/null && { echo $$p; exit; }; done; done)
endif
VENV ?= .venv
BIN := $(VENV)/bin
# What the environment holds: onedl or openmmlab, and a file of versions (empty for the
# newest). constraints.txt holds versions of onedl and does not go with openmmlab.
FAMILY ?= onedl
CONSTRAINTS ?= $(if $(filter onedl,$(FAMILY)),constraints.txt)

.DEFAULT_GOAL := help
# Packages are installed without being compiled: Python keeps what it compiles when it
# imports. Otherwise each of the hundreds of commands of the tests would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lint format test test-slow test-gpu bench-gpu fuzz coverage demo bench docs weights wheel clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=$(PYTHON)  makes the virtual environment"
	@echo "  VENV=$(VENV)  is its folder"

setup: ## make the virtual environment or bring it up to date
	@if [ -z "$(PYTHON)" ]; then \
		echo "setup: no Python >= 3.11 found. Install one, or name it:" \
			"make setup PYTHON=..." >&2; exit 1; fi
	@"$(PYTHON)" .ci/setup_venv.py "$(VENV)" --family "$(FAMILY)" \
		--constraints "$(CONSTRAINTS)"

lint: setup ## check style, format, types and the floors of the package
	@echo "lint: ruff check, ruff format --check, mypy, lint-imports"
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports"

format: setup ## mend what ruff can mend
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

# One process per core, each with one thread: threads of several processes would wait for
# each other.
PYTEST := OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest -q -n auto --maxprocesses 8

test: lint ## lint, then run the fast tests and the examples in docstrings
	@$(PYTEST)

test-slow: setup ## run the slow tests
	@"$(BIN)/python" -m pytest -q -m slow

# Elsewhere than on a GPU: DEVICE=cpu shows that the checks run, and no more.
DEVICE ?= cuda

test-gpu: setup ## compare a CUDA device with the CPU
	@"$(BIN)/python" -m pytest -q -rs -m gpu tests/test_gpu --device "$(DEVICE)"

GPU_RESULTS ?= work_dirs/gpu

bench-gpu: setup ## compare and measure a CUDA device, in GPU_RESULTS
	@PYTHON="$(abspath $(BIN))/python" benchmarks/gpu_checks.sh "$(GPU_RESULTS)" \
		--device "$(DEVICE)"

FUZZ_INPUTS ?= 100000

fuzz: setup ## feed FUZZ_INPUTS damaged files to the readers
	@OMP_NUM_THREADS=1 "$(BIN)/python" tests/fuzz.py --inputs $(FUZZ_INPUTS)

coverage: setup ## run the fast tests and report what of the package they reach
	@$(PYTEST) --cov --cov-report=term:skip-covered

demo: setup ## train and show a small model
	@"$(BIN)/python" tools/demo.py

BENCHMARKS ?= contrastive_loss label_axis train_step metric annotations pipeline scaling \
	neighbours search checked_runner \
	$(if $(wildcard data/VOCdevkit/VOC2007/ImageSets),training_loop)

bench: setup ## measure speed, and write the tables in docs
	@"$(BIN)/python" -c 'import pytorch_metric_learning' 2>/dev/null \
		|| "$(BIN)/python" -m pip install -qq --disable-pip-version-check \
			--constraint constraints.txt --editable '.[bench]'
	@set -e; for name in $(BENCHMARKS); do \
		echo "bench: $$name"; "$(BIN)/python" benchmarks/bench_$$name.py; done
	@"$(BIN)/python" benchmarks/make_docs.py

# Warnings are errors: a link that leads nowhere, a page that is not in docs/site/toc.yml.
docs: setup ## build the documentation site into build/docs
	@"$(BIN)/python" -c 'import sphinx, myst_nb, furo' 2>/dev/null \
		|| "$(BIN)/python" -m pip install -qq --disable-pip-version-check \
			--constraint constraints.txt --editable '.[docs]'
	@"$(BIN)/python" -W ignore::FutureWarning -m sphinx -q -W --keep-going -c docs/site . build/docs
	@echo "docs: open build/docs/index.html in a browser"

weights: setup ## train the weights in mlcl_plugin/weights anew, from VOC2007 in data
	@"$(BIN)/python" studies/make_weights.py

wheel: setup ## build sdist and wheel into dist/
	@"$(BIN)/python" -m build --no-isolation --outdir dist .

clean: ## remove what builds and tests leave; keeps the environment, data and runs
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache \
		.import_linter_cache .coverage .coverage.* htmlcov
	find $(wildcard mlcl_plugin tests tools configs benchmarks studies .ci) \
		-name __pycache__ -prune -exec rm -rf {} +

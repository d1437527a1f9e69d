# Each target makes .venv and installs from requirements.lock when needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.docs
EXTRAS_READY := .venv/.extras
LOOK_AT = $(if $(SWEEP),--logdir multirun/$(SWEEP),--logdir_spec runs:outputs,sweeps:multirun)
# Compiling all of torch takes a minute: Python compiles what it imports.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
PIN = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --upgrade --quiet

.PHONY: help train test test-sweeps test-faults test-slurm test-extras test-browser lint docs bench tensorboard lock

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(READY) ## run the main job (ARGS="trainer.max_epochs=2" adds overrides)
	@$(BIN)/python scripts/default_training.py $(ARGS)

test: $(READY) ## run the tests and the examples in the docstrings
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 $(ARGS)

test-sweeps: $(READY) ## test whole sweeps: failing, killed, said again, searching
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slow --numprocesses 2 $(ARGS)

test-faults: $(READY) ## inject faults: full disks, kills, damaged files, hostile ones (docs/faults.md; parts want root)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults --numprocesses 2 $(ARGS)

test-slurm: $(READY) ## test sweeps on a SLURM of this machine's own (as root, with Debian's slurm-wlm and munge)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm $(ARGS)

test-extras: $(READY) $(EXTRAS_READY) ## test what wants optional packages: loggers of others, exports
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/extras $(ARGS)

test-browser: $(READY) $(EXTRAS_READY) ## look at TensorBoard and at a sweep's report in a headless Chromium (Debian's chromium)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser $(ARGS)

lint: $(READY) ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(READY) $(DOCS_READY) ## build the site of docs/ into site/, notebooks executed; warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(READY) ## time dive against what people use instead (docs/benchmarks.md; some twenty minutes)
	@$(BIN)/python scripts/benchmark.py $(ARGS)

tensorboard: $(READY) ## look at all runs and sweeps, or with SWEEP=NAME at one sweep, on this machine only
	@test -z "$(SWEEP)" || test -d "multirun/$(SWEEP)" || { echo "error: SWEEP=$(SWEEP): there is no multirun/$(SWEEP)"; exit 1; }
	@$(BIN)/tensorboard $(LOOK_AT) --host 127.0.0.1 $(ARGS)

lock: $(READY) ## pin the newest versions that pyproject.toml allows
	@$(PIN) pyproject.toml --extra dev --extra sweeps --output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements.lock; cat requirements.tmp; } > requirements.new
	@mv requirements.new requirements.lock
	@$(PIN) --group docs --constraints requirements.lock --output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements-docs.lock; cat requirements.tmp; } > requirements.new
	@mv requirements.new requirements-docs.lock
	@$(PIN) pyproject.toml --extra export --extra loggers --group browser --constraints requirements.lock \
		--output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements-extras.lock; cat requirements.tmp; } > requirements.new
	@rm requirements.tmp && mv requirements.new requirements-extras.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dive needs Python 3.11 or newer")'
	@echo "Installing into .venv (about 5 GB with CUDA on Linux; a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_READY): $(READY) requirements-docs.lock
	@$(INSTALL) --require-hashes -r requirements-docs.lock
	@touch $@

$(EXTRAS_READY): $(READY) requirements-extras.lock
	@$(INSTALL) --require-hashes -r requirements-extras.lock
	@touch $@

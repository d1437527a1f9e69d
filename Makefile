# Each target creates .venv and installs requirements.lock if needed.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.ready
DOCS_INSTALLED := .venv/.docs
EXTRAS_INSTALLED := .venv/.extras
LOGDIR = $(if $(SWEEP),--logdir multirun/$(SWEEP),--logdir_spec runs:outputs,sweeps:multirun)
# --no-compile saves a minute: Python compiles modules when it imports them, and keeps them for the next import unless
# this variable is set, as in many containers: importing torch and Lightning then takes more than twice as long.
unexport PYTHONDONTWRITEBYTECODE
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
LOCK = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-annotate --upgrade --quiet

.PHONY: help train test test-latest test-slow test-faults test-slurm test-extras test-browser lint docs bench tensorboard lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(INSTALLED) ## train the default model; ARGS="trainer.max_epochs=2" passes overrides
	@$(BIN)/python scripts/default_training.py $(ARGS)

test: $(INSTALLED) ## run the fast tests and the docstring examples; ARGS="-k resume" passes pytest options
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 $(ARGS)

test-latest: ## run the tests with the newest allowed releases instead of the lock file, in .venv-latest
	@$(PYTHON) -m venv .venv-latest
	@.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --upgrade \
		--upgrade-strategy eager --editable '.[dev,sweeps]'
	@.venv-latest/bin/python -m pip list --format freeze | grep -E '^(torch|pytorch-lightning|torchmetrics|hydra-core)='
	@OMP_NUM_THREADS=1 .venv-latest/bin/python -m pytest -m "not slow" --numprocesses 2 $(ARGS)

test-slow: $(INSTALLED) ## run the slow tests: sweeps, several processes, deferred imports, a renamed project
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --numprocesses 2 --dist worksteal $(ARGS)

test-faults: $(INSTALLED) ## run the fault-injection tests: full disks, kills, corrupt files (some need root)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults --numprocesses 2 --dist worksteal $(ARGS)

test-slurm: $(INSTALLED) ## run the SLURM tests on a local cluster (needs root, slurm-wlm and munge)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm $(ARGS)

test-extras: $(INSTALLED) $(EXTRAS_INSTALLED) ## run the tests of optional packages: MLflow, Weights & Biases, ONNX
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/extras $(ARGS)

test-browser: $(INSTALLED) $(EXTRAS_INSTALLED) ## run the tests of TensorBoard and sweep reports in a headless browser (needs chromium)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser $(ARGS)

lint: $(INSTALLED) ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(INSTALLED) $(DOCS_INSTALLED) ## execute the notebooks in place and build the documentation site in site/
	@$(BIN)/python scripts/refresh_notebooks.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(INSTALLED) ## run the benchmarks and write docs/benchmarks.md (about 20 minutes)
	@$(BIN)/python scripts/benchmark.py $(ARGS)

tensorboard: $(INSTALLED) ## show all runs and sweeps in TensorBoard, or one sweep with SWEEP=NAME
	@test -z "$(SWEEP)" || test -d "multirun/$(SWEEP)" || { echo "error: SWEEP=$(SWEEP): multirun/$(SWEEP) does not exist"; exit 1; }
	@$(BIN)/tensorboard $(LOGDIR) --host 127.0.0.1 $(ARGS)

lock: $(INSTALLED) ## pin the newest versions that pyproject.toml allows
	@$(LOCK) pyproject.toml --extra dev --extra sweeps --output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements.lock; cat requirements.tmp; } > requirements.new
	@mv requirements.new requirements.lock
	@$(LOCK) --group docs --constraints requirements.lock --output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements-docs.lock; cat requirements.tmp; } > requirements.new
	@mv requirements.new requirements-docs.lock
	@$(LOCK) pyproject.toml --extra export --extra loggers --group browser --constraints requirements.lock \
		--output-file requirements.tmp
	@{ sed '/^[^#]/,$$d' requirements-extras.lock; cat requirements.tmp; } > requirements.new
	@rm requirements.tmp && mv requirements.new requirements-extras.lock

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dive needs Python 3.11 or newer")'
	@echo "Installing into .venv (about 5 GB with CUDA on Linux; a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED) requirements-docs.lock
	@$(INSTALL) --require-hashes -r requirements-docs.lock
	@touch $@

$(EXTRAS_INSTALLED): $(INSTALLED) requirements-extras.lock
	@$(INSTALL) --require-hashes -r requirements-extras.lock
	@touch $@

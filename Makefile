# Everything a person types while working on Camelid. `make help` is made from the ## comments.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PY ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
UI ?= 1
PLUGINS := plugins/alpaca-cot plugins/baichuan plugins/chatglm plugins/gguf plugins/internlm plugins/llamacpp plugins/lm-eval plugins/moss plugins/openai-engine plugins/ray plugins/slurm plugins/trl
# Installed without what they need, which does not go with constraints-cpu.txt: tests/test_gptq.py makes an environment.
APART := plugins/gptq
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
# In two runs: Playwright keeps an event loop running in a process that had a browser, where no other can start.
WHOLE_FILES = $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install dev demo ui lint format types contracts docs docs-check unit test test-all gpu-check chaos mutations space constraints coverage clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PY)" || { echo "Python 3.11 or newer is needed: install it, or set PY=/path/to/python."; exit 1; }
	@$(PY) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python constraints-cpu.txt pyproject.toml $(wildcard packages/*/pyproject.toml plugins/*/pyproject.toml)
	@echo "Installing Camelid into $(VENV) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints-cpu.txt -e 'packages/core[data,machines,quality]' -e 'packages/train[qlora]' -e 'packages/serve[api,machines,metrics,plots]' -e packages/ui $(PLUGINS:%=-e %)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(APART:%=-e %)
	@touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints-cpu.txt -r requirements-dev.txt
	@touch $@

install: $(VENV)/.installed  ## Install the four packages into .venv

dev: $(VENV)/.dev  ## Install what working on Camelid needs, too

demo: $(VENV)/.installed  ## Fine-tune, merge, ask and predict with a real model; UI=0 ends there, else the pages open
	@$(BIN)/python examples/quickstart/demo.py
	@if [ "$(UI)" != 0 ]; then $(BIN)/camelid ui; fi

ui: $(VENV)/.installed  ## Start the web pages
	@$(BIN)/camelid ui

lint: $(VENV)/.dev  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## Put style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## Check types
	$(BIN)/mypy packages/core/src packages/train/src packages/serve/src packages/ui/src $(PLUGINS:%=%/src) $(APART:%=%/src)

contracts: $(VENV)/.dev  ## Check who may import whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## Write the generated pages of docs/reference
	$(BIN)/python docs/generate.py

docs-check: $(VENV)/.dev  ## Check that the generated pages are fresh
	$(BIN)/python docs/generate.py --check

unit: $(VENV)/.dev  ## The inner loop, without slow tests; IN=packages/core for the part you work on
	$(PYTEST) -m "not model and not browser and not install and not slow and not exhaustive" -n 2 $(IN)

test test-all: export CAMELID_SAME_EXAMPLES = 1
test: $(VENV)/.dev lint types contracts docs-check  ## Everything CI checks
	tests/find-browser
	$(WHOLE_FILES) -m "(model or install or browser) and not exhaustive"
	$(WHOLE_FILES) -m "not (model or install or browser) and not exhaustive"

test-all: $(VENV)/.dev lint types contracts docs-check  ## The same, and every combination of templates, tokenizers, methods and models
	tests/find-browser
	$(WHOLE_FILES) -m "model or install or browser"
	$(WHOLE_FILES) -m "not (model or install or browser)"

gpu-check: $(VENV)/.installed  ## Check training on this machine's graphics card against float32, and how fast it is
	$(BIN)/python benchmarks/gpu_check.py

chaos: MINUTES ?= 10
chaos: $(VENV)/.installed  ## Kill everything around a job queue for MINUTES=10, and see whether its rules hold
	$(BIN)/python benchmarks/chaos --minutes $(MINUTES)

mutations: $(VENV)/.dev  ## Take the safeguards of jobs away one after another, and see whether a test notices
	$(BIN)/python benchmarks/mutations

space: $(BIN)/python  ## Build the hosted demo's bundle in build/space
	$(BIN)/python space/build.py build/space

constraints: $(VENV)/.dev  ## Write constraints-cpu.txt from what .venv holds
	@$(BIN)/python -m pip freeze --exclude-editable --disable-pip-version-check | sed 's/+cpu$$//' | grep -v '^-e' > constraints-cpu.txt

coverage: $(VENV)/.dev  ## Which lines the inner loop never runs
	$(BIN)/python -m coverage run -m pytest -m "not model and not browser and not install and not slow and not exhaustive"
	$(BIN)/python -m coverage combine -q || true
	$(BIN)/python -m coverage report --skip-covered

clean:  ## Delete the environment and what tests left
	rm -rf $(VENV) build test-output .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `make demo` and `make test` do all the set-up. They share one environment, .venv, with the extras demo, serve and dev.
# PYTHON chooses the interpreter that creates it; PYTEST passes further arguments: make test PYTEST="-k gelu -x".

PYTHON ?= python3
PYTEST ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(CURDIR)/$(BIN)
ROOMS := protocols models parties
# Tests of one group share what took long to set up, so one worker runs them all.
WORKERS := -n 2 --dist loadgroup
# The four folders as they are installed, for tools that follow files.
LAYOUT := build/package

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check format proto layout install clean distclean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED) ## private semantic search with three processes on this machine
	$(BIN)/secure demo

test: $(INSTALLED) ## the default test run (without the tests marked slow)
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST)

test-all: $(INSTALLED) ## every test, the slow ones too, but for campaigns
	$(BIN)/python -m pytest $(WORKERS) -m "not campaign" $(PYTEST)

check: $(INSTALLED) layout ## format, lint, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd $(LAYOUT) && $(TOOLS)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache --strict -p secure
	cd $(LAYOUT) && PYTHONPATH=. $(TOOLS)/lint-imports --config $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.import_linter_cache

format: $(INSTALLED) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(INSTALLED) layout ## regenerate *_pb2* from the .proto files in parties
	cd $(LAYOUT) && PATH="$(TOOLS):$$PATH" $(TOOLS)/python -m grpc_tools.protoc --proto_path=. \
	    --python_out=. --mypy_out=. secure/parties/transport/wire.proto secure/parties/encrypted/generation.proto

layout: ## links to the four folders, laid out as they are installed
	@rm -rf $(LAYOUT) && mkdir -p $(LAYOUT)/secure
	@ln -s $(addprefix $(CURDIR)/,$(filter-out %/__pycache__,$(wildcard secure/*)) $(ROOMS)) $(LAYOUT)/secure/

install: $(INSTALLED) ## create .venv and install into it, if that has not been done

# The file .venv/.installed says that pip has finished for this pyproject.toml and these constraints. While it is newer
# than both, nothing here calls pip or the network. torch goes first, at its pinned version: pip then settles for the
# build that it finds, a build for the CPU where one is offered. Our own package is built with the pinned setuptools
# from .venv, so that installing again needs no network either.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	        { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11" >&2; exit 2; }; \
	    $(PYTHON) -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --constraint constraints.txt "$$(grep '^torch==' constraints.txt)" setuptools
	$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable '.[demo,serve,dev]'
	@touch $@

clean: ## remove caches and build outputs, keep .venv
	rm -rf build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find secure $(ROOMS) tests bench -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## clean, and remove .venv too
	rm -rf $(VENV)

# Everything a newcomer needs: `make demo`. Only make and Python are needed; the rest goes into .venv.
# Variables: PYTHON (the Python that makes .venv), EXTRAS (of pyproject.toml), PIP_ARGS (e.g. another index for torch).

PYTHON ?= python3
EXTRAS ?= dev
VENV ?= .venv
PIP_ARGS ?=

BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python -m
READY := $(VENV)/.ready-$(EXTRAS)
UNFINISHED := $(VENV)/.unfinished
OLD_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast acceptance lectures lint clean

help: ## this list
	@echo "make demo       the shortest way in; the others:"
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1: \2/p' Makefile

demo: $(READY) ## segment toy clips (or DAVIS in VOS_TEACH_DAVIS) with three systems; report in runs/demo/report.html
	@$(RUN) vos_teach.cli demo

test: $(READY) ## all tests but the acceptance tests (at most 20 minutes)
	@$(RUN) pytest -m "not acceptance"

test-fast: $(READY) ## the tests that take seconds
	@$(RUN) pytest -m "not slow and not acceptance"

acceptance: $(READY) ## the tests that take minutes to hours: clean installs, full measurements
	@$(RUN) pytest -m acceptance

lectures: $(READY) ## pages and slides of the lectures, into build/lectures and build/lectures/slides; warnings are errors
	@$(RUN) sphinx -q -W --keep-going -b html -d build/doctrees lectures build/lectures
	@$(RUN) sphinx -q -W --keep-going -b revealjs -d build/doctrees lectures build/lectures/slides
	@echo "open build/lectures/index.html"

lint: $(READY) ## style (ruff) and types (mypy)
	@$(RUN) ruff check .
	@$(RUN) mypy

clean: ## remove .venv, caches and build products; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find vos_teach tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv is made from nothing if there is none, if its Python is gone or too old, or if an installation broke off in
# it; otherwise it is only brought up to date. Its stamp is written last, so an interrupted run never looks finished.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(OLD_ENOUGH)' || { \
	  echo "vos_teach needs Python 3.10 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true);" \
	       "say which one to use: make PYTHON=python3.11" >&2; exit 1; }
	@rm -f $(VENV)/.ready-*
	@if test -e $(UNFINISHED) || ! $(BIN)/python -c 'import pip; $(OLD_ENOUGH)' >/dev/null 2>&1; then \
	  echo "making $(VENV) (once; torch is large, so this takes some minutes)"; \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && touch $(UNFINISHED) && \
	  $(RUN) ensurepip >/dev/null || { \
	    echo "could not make $(VENV): Python's venv module is incomplete (Debian, Ubuntu: apt install python3-venv)" >&2; \
	    exit 1; }; \
	fi
	@touch $(UNFINISHED)
	@$(RUN) pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[$(EXTRAS)]'
	@rm -f $(UNFINISHED)
	@touch $@
	@echo "$(VENV) is ready"

# make demo and make test do all the set-up themselves.
VERSIONS := 3.11 3.12 3.10 3.9
PYTHON ?= $(firstword $(foreach v,$(VERSIONS),$(shell python$(v) -c 'import ensurepip; print("python$(v)")' 2>/dev/null)) \
	$(shell python3 -c 'import ensurepip, sys; 9 <= sys.version_info[1] <= 12 and print("python3")' 2>/dev/null))
REQUIREMENTS := $(if $(GPU),requirements-gpu.txt,requirements.txt)
READY := .venv/installed-$(REQUIREMENTS)
RUN := .venv/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check

.PHONY: help setup demo test lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
	@echo
	@echo "GPU=1        take the CUDA 11.2 build of MXNet (make GPU=1 demo); once set up, say it each time"
	@echo "PYTHON=...   another CPython 3.9 to 3.12 than the first found ($(or $(PYTHON),none))"

setup: $(READY)  ## make .venv and install the pinned packages

# The stamp is a copy of what was installed: a touched file is not a changed one.
$(READY): $(REQUIREMENTS)
	@if cmp -s $< $@; then touch $@; else $(MAKE) --no-print-directory environment; fi

.PHONY: environment
environment:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
		|| { echo "error: $(or $(PYTHON),no python3.9 to python3.12 with venv on PATH): CPython 3.9, 3.10, 3.11 or" \
		"3.12 is needed, with its venv module; install one, or say make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version) and $(REQUIREMENTS): some 500 MB, a few minutes"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --no-deps -r $(REQUIREMENTS)
	@cp $(REQUIREMENTS) $(READY)

demo: setup  ## train on the embedded characters and show what was learned (3 minutes)
	$(RUN) examples/embedding_learning/demo.py

test: lint  ## run the linter and the tests
	$(RUN) -m pytest

lint: setup  ## run the linter
	$(RUN) -m ruff check .

clean:  ## remove the environment and the caches; data/ and runs/ stay
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

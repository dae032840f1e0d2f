# make demo and make test do all the set-up themselves.
PYTHON ?= $(firstword $(foreach v,3.11 3.12 3.10 3.9,$(shell python$(v) -c 'print("python$(v)")' 2>/dev/null)) \
	$(shell python3 -c 'import sys; 9 <= sys.version_info[1] <= 12 and print("python3")' 2>/dev/null))
REQUIREMENTS := $(if $(GPU),requirements-gpu.txt,requirements.txt)
READY := .venv/.ready-$(REQUIREMENTS)
RUN := .venv/bin/python

.PHONY: help setup demo test lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
	@echo "GPU=1 before a target takes the CUDA 11.2 build of MXNet; PYTHON=... another CPython 3.9-3.12."

setup: $(READY)  ## make .venv and install the pinned packages

# gluoncv asks for opencv-python, which needs libGL and overwrites the headless build: keep the headless one alone.
$(READY): $(REQUIREMENTS)
	@test -n "$(PYTHON)" || { echo "error: no CPython 3.9-3.12 found: install one, or say PYTHON=/path/to/python3" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	$(RUN) -m pip uninstall --quiet --yes opencv-python opencv-python-headless
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps $$(grep ^opencv $(REQUIREMENTS))
	@touch $@

demo: setup  ## train on the embedded characters and show what was learned (3 minutes)
	$(RUN) examples/embedding_learning/demo.py

test: setup lint  ## run the tests and the linter
	$(RUN) -m pytest

lint: setup  ## run the linter
	$(RUN) -m ruff check .

clean:  ## remove the environment; data/ and runs/ stay
	rm -rf .venv .pytest_cache .ruff_cache

# make demo and make test do all the set-up themselves.
SHELL := /bin/bash
VERSIONS := 3.14 3.13 3.12 3.11 3.10
FITS := import ensurepip, platform, sys; sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 14) \
	and platform.python_implementation() == "CPython"))
PYTHON ?= $(firstword $(foreach p,$(VERSIONS:%=python%) python3,$(shell $(p) -c '$(FITS)' 2>/dev/null && echo $(p))))
REQUIREMENTS := $(if $(GPU),requirements-gpu.txt,requirements.txt)
READY := .venv/installed-$(REQUIREMENTS)
RUN := .venv/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
PLATFORM := $(shell uname -sm)
SIZE := $(if $(GPU),2.0 GB,1.3 GB)

# Tests on all cores, but no more than four workers: each holds the fixtures, in its own memory. One thread is what a worker has.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal

PAGE := runs/page
PAGE_MODEL := $(PAGE)/margin_loss_model.params

.PHONY: help setup environment demo page quick test faults bench peers docs docs-environment lint clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10
	@echo
	@echo "GPU=1        take the CUDA 11.2 build of MXNet (make GPU=1 demo); once set up, say it each time"
	@echo "PYTHON=...   another CPython 3.10 to 3.14 than the newest found ($(or $(PYTHON),none))"

# The stamp is a copy of what was installed: a touched file is not a changed one.
setup:  ## make .venv and install the pinned packages
	@cmp -s $(REQUIREMENTS) $(READY) && $(RUN) -c '' 2>/dev/null || $(MAKE) --no-print-directory environment

# An interrupted or failed installation leaves no environment behind.
environment:
	@case "$(PLATFORM)" in "Linux x86_64"|"Linux aarch64"|"Darwin x86_64") ;; *) \
		echo "error: MXNet 1.9.1 has wheels for Linux (x86-64, Arm) and macOS (x86-64), not for $(PLATFORM):" \
		"use one of these, or a container of linux/amd64 or linux/arm64" >&2; exit 2;; esac
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null \
		|| { echo "error: $(or $(PYTHON),no python3.10 to python3.14 with venv on PATH): CPython 3.10 to 3.14" \
		"is needed, with its venv module; install one, or say make PYTHON=/path/to/python3.13" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version) and $(REQUIREMENTS): $(SIZE) on disk, a few minutes"
	@set -o pipefail; trap 'rm -rf .venv; echo "error: .venv was not finished and is removed: make setup begins anew" >&2' EXIT; \
	trap 'exit 130' INT; trap 'exit 143' TERM HUP; \
	$(PYTHON) -m venv --clear .venv \
	&& $(PIP) install --progress-bar off --no-deps -r $(REQUIREMENTS) | awk -v tty=$$([ -t 1 ] && echo 1 || echo 0) ' \
		/^(Collecting|Processing) / { n++; if (tty) printf "\r\033[K%d packages, %s", n, $$2; else if (n % 10 == 0) print n " packages"; fflush() } \
		/^Installing / { printf "%sinstalling %d packages\n", tty ? "\r\033[K" : "", n; fflush() }' \
	&& $(RUN) -c 'from common import cli; cli.launch(lambda _: __import__("mxnet"), lambda: None)' \
	&& cp $(REQUIREMENTS) $(READY) && trap - EXIT

demo: setup  ## train on the embedded characters and show what was learned (3 minutes)
	$(RUN) examples/embedding_learning/demo.py

# The model is made once; a run that was interrupted goes on.
page: setup  ## photograph in, catalogue products out: data, model, and the page (PORT=8000)
	./get_data.sh grocery
	[ -f $(PAGE_MODEL) ] || $(RUN) examples/embedding_learning/train.py --dataset grocery --protocol seen \
		--with-catalogue --model efficientnet_lite0 --use-pretrained --head lda --views 0.75,0.5 --no-plots --run-dir $(PAGE) \
		$$([ ! -f $(PAGE)/args.json ] || echo --resume)
	$(RUN) examples/embedding_learning/search.py --dataset grocery --params $(PAGE_MODEL) \
		--index $(PAGE)/catalogue.faiss --serve --port $(or $(PORT),8000)

quick: setup  ## run the linter and the tests that take two minutes together
	$(RUN) -m ruff check .
	$(PYTEST) -m "not slow"

test: lint  ## run the linter and all tests
	$(PYTEST)

faults: setup  ## kill each program 20 times (FAULTS=20), damage what it wrote, watch its memory
	FAULTS=$(or $(FAULTS),20) $(RUN) -m pytest tests/faults

bench: peers  ## measure beside other tools: benchmarks/RESULTS.md (20 minutes; ROWS="features search", QUICK=1, FRESH=1)
	$(RUN) benchmarks/run.py $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick) $(if $(FRESH),--fresh)

# One of them, hnswlib, is compiled: a C++ compiler is needed.
peers: setup  ## make .peers with the tools that are compared with
	@cmp -s benchmarks/requirements.txt .peers/installed && .peers/bin/python -c '' 2>/dev/null || { \
	set -e; trap 'rm -rf .peers; echo "error: .peers was not finished and is removed: make peers begins anew" >&2' EXIT; \
	trap 'exit 130' INT; trap 'exit 143' TERM HUP; \
	$(RUN) -m venv --clear .peers; \
	.peers/bin/python -m pip --disable-pip-version-check install --progress-bar off --quiet -r benchmarks/requirements.txt; \
	cp benchmarks/requirements.txt .peers/installed; trap - EXIT; }

docs: docs-environment  ## make the site of these pages: site/index.html
	NO_MKDOCS_2_WARNING=1 .docs/bin/python -m mkdocs --quiet build --strict
	.docs/bin/python docs/check.py site

docs-environment: setup
	@cmp -s docs/requirements.txt .docs/installed && .docs/bin/python -c '' 2>/dev/null || { \
	set -e; trap 'rm -rf .docs; echo "error: .docs was not finished and is removed: make docs begins anew" >&2' EXIT; \
	$(RUN) -m venv --clear .docs; \
	.docs/bin/python -m pip --disable-pip-version-check install --progress-bar off --quiet -r docs/requirements.txt; \
	cp docs/requirements.txt .docs/installed; trap - EXIT; }

lint: setup  ## run the linter
	$(RUN) -m ruff check .

clean:  ## remove environments, site and caches; data/ and runs/ stay
	rm -rf .venv .peers .docs site .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

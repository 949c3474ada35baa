# Run `make` to see the targets. Everything is installed into .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo install dev lint format test test-all test-qgis bench clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.stamp-install ## install, then map a synthetic scene from pixels to styled polygons
	$(BIN)/geoseg demo

install: $(VENV)/.stamp-install ## install geoseg into .venv

dev: $(VENV)/.stamp-dev ## install geoseg with what the checks need

lint: $(VENV)/.stamp-dev ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.stamp-dev ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.stamp-dev ## the quick tests, in a process for each of up to four cores
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-all: $(VENV)/.stamp-dev ## the slow tests too
	$(BIN)/python -m pytest -m "not gpu and not qgis"

test-qgis: $(VENV)/.stamp-dev ## what QGIS makes of the outputs; needs Debian's qgis and python3-qgis
	$(BIN)/python -m pytest -m qgis tests/qgis

bench: $(VENV)/.stamp-install ## measure it all, for over an hour; `make bench ONLY=pipeline` for a part
	$(BIN)/python benchmarks $(addprefix --only ,$(ONLY))

clean: ## remove what builds, tests and the demo leave
	rm -rf build dist *.egg-info demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf $(VENV)

$(VENV)/.stamp-venv:
	@command -v "$(PYTHON)" > /dev/null || \
		{ echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "error: $(PYTHON) cannot create virtual environments; run: apt install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-install: $(VENV)/.stamp-venv pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-install
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

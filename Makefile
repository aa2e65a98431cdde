# Two commands: `make run` and `make test`. They need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test check format site clean

run: $(VENV)/.ready-all
	$(BIN)/tongwen run sample

# A worker for each processor takes a file at a time, the longest first (tests/conftest.py).
test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# What must hold of the code besides its tests: format, lint, types, layers. Long files are named only.
check: $(VENV)/.ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_size.py

format: $(VENV)/.ready-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documents as a site, in site/; index.html opens without a server.
site: | $(VENV)/bin/pip
	$(INSTALL) -e '.[docs]'
	$(BIN)/zensical build --config-file mkdocs.yml --strict --clean

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Tongwen needs Python 3.11 or newer; name one with make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: its CPU build is then what the others find installed.
$(VENV)/.ready-torch: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(INSTALL) torch
	touch $@

$(VENV)/.ready-all: $(VENV)/.ready-torch
	$(INSTALL) -e '.[all]'
	touch $@

$(VENV)/.ready-test: $(VENV)/.ready-torch
	$(INSTALL) -e '.[all,test]'
	touch $@ $(VENV)/.ready-all

clean:
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

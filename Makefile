# Each target builds .venv on first use, from a bare Python 3.11 with pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test check attack clean

demo: .venv/core.stamp  ## augment the drawn sample set, offline, and load it back
	$(BIN)/hf-mner-aug demo --out demo-out

test: .venv/dev.stamp  ## the default tests: offline, CPU
	$(BIN)/pytest -n 2

check: .venv/dev.stamp  ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

attack: .venv/dev.stamp  ## the long campaigns: kills, writers, mutations, Hub faults, full disk
	$(BIN)/pytest -m attack tests/attack

clean:
	rm -rf .venv demo-out demo-out.runs

.venv/core.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/dev.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,models]'
	touch $@ .venv/core.stamp

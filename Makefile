# Everything runs in .venv with the exact versions of constraints.txt, and the tests on Spark in .venv-spark.

PYTHON ?= python3
VENV := .venv
BIN = $(VENV)/bin
# One stamp for what the demo runs, one for that and all that works on the code, one for the documentation: a target
# installs only what it needs.
INSTALLED_DEMO := $(VENV)/.installed-demo
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs
# An environment of its own: PySpark is a download of 450 MB.
INSTALLED_SPARK := .venv-spark/.installed
EXTRAS_DEMO := batch,embedded,demo
EXTRAS_DEV := batch,embedded,demo,bench,dev
EXTRAS_DOCS := docs
EXTRAS_SPARK := batch,embedded,spark,dev
PYTEST = $(BIN)/python -m pytest
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)
# Two processes, for the two cores of the smallest machine. Tests of one file share its fixtures.
IN_PARALLEL := -n 2 --dist loadfile

.PHONY: help setup demo test-fast test test-all test-spark browser check bench docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED_DEMO)  ## install Tawsiya with all that the demo runs

demo: $(INSTALLED_DEMO)  ## train on real purchases and serve a shop page; ARGS="--no-serve" ends after training
	$(BIN)/tawsiya demo $(ARGS)

test-fast: $(INSTALLED_DEV)  ## the tests without a feature store and without training on a shop
	$(PYTEST) $(IN_PARALLEL) -m fast $(ARGS)

test: $(INSTALLED_DEV)  ## all tests but those of browser, platforms, processes, Spark and cluster; ARGS are pytest's
	$(PYTEST) $(IN_PARALLEL) -m "not (browser or platforms or processes or spark or cluster)" $(ARGS)

test-all: $(INSTALLED_DEV)  ## all tests; those on Spark are skipped without PySpark
	$(PYTEST) $(IN_PARALLEL) $(ARGS)

test-spark: VENV := .venv-spark
test-spark: $(INSTALLED_SPARK)  ## the tests on Spark, in an environment of their own; needs Java 17
	$(PYTEST) -m spark tests/spark $(ARGS)

browser:  ## install Debian's Chromium and a font with Arabic, which the tests marked browser drive
	@echo "Installing the packages chromium and fonts-noto-core with apt-get, as root."
	$(AS_ROOT) apt-get update
	$(AS_ROOT) apt-get install --yes --no-install-recommends chromium fonts-noto-core

check: $(INSTALLED_DEV)  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED_DEV)  ## the benchmarks, one after the other
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(INSTALLED_DOCS)  ## write the reference pages and build the documentation site into build/site
	$(BIN)/python -m reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html; for its search: $(BIN)/mkdocs serve"

clean:  ## delete both environments, caches and var/, including all data of your own shop
	rm -rf $(VENV) .venv-spark var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Not quiet, and with the newest pip, which shows how far it is: the first installation takes minutes.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Tawsiya needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing Tawsiya with [$(1)] into $(VENV). The first time this takes a few minutes."
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$(1)]' $(3)
	@touch $(2)
endef

$(INSTALLED_DEMO): pyproject.toml constraints.txt
	$(call install,$(EXTRAS_DEMO),$@)

$(INSTALLED_DEV): pyproject.toml constraints.txt client/pyproject.toml
	$(call install,$(EXTRAS_DEV),$(INSTALLED_DEMO) $@,--editable ./client)

$(INSTALLED_DOCS): pyproject.toml constraints.txt
	$(call install,$(EXTRAS_DOCS),$@)

$(INSTALLED_SPARK): VENV := .venv-spark
$(INSTALLED_SPARK): pyproject.toml constraints.txt
	$(call install,$(EXTRAS_SPARK),$@)

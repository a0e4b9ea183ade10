# What one does with a checkout. `make help` lists it; only make and python3 (3.11 or newer) are needed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO_ARGS ?=
MUTANTS_ARGS ?=
FORMER_ARGS ?=
PYTEST_ARGS ?= -n 2
# Tests of a file mostly go to one worker, which starts their servers once.
PYTEST = $(BIN)/python -m pytest --dist worksteal

export PYTHON VENV
unexport PYTHONDONTWRITEBYTECODE # tests start hundreds of interpreters, and each would compile the same sources again

.PHONY: help demo dev test test-services test-long plain pythons mutants against-former experiments-validate check format \
	bench docs clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make demo       run the demo on real flights, into build/demo  (DEMO_ARGS="...")'
	@echo 'make test       run the tests that need nothing else       (PYTEST_ARGS="-x -k hops")'
	@echo 'make test-services  run the tests of servers, browsers and other toolchains; it names what is missing'
	@echo 'make test-long  run the slow tests too, with many examples of each law'
	@echo 'make plain      build the wheel, and run every verb where nothing but it is installed'
	@echo 'make pythons    run the core of the tests on every newer Python that this machine has (PYTHONS=newest: on one)'
	@echo 'make mutants    break src in 120 places, and count which of them tests/laws finds; a stopped run goes on'
	@echo 'make against-former  compare the answers of this checkout, to the bit, with those of the former wheel'
	@echo 'make check      lint, format, types, layers and doctests'
	@echo 'make format     format the code and fix what ruff can fix'
	@echo 'make experiments-validate  measure the statistics of experiments, into docs/validation.md (minutes)'
	@echo 'make bench      measure the speed side by side, into bench/results.json'
	@echo 'make docs       build the documentation, into build/docs'
	@echo 'make dev        only make $(VENV), with everything that tests and checks need'
	@echo 'make clean      remove what was built; make distclean removes $(VENV) too'
	@echo
	@echo 'PYTHON=python3.13 chooses the interpreter of a new $(VENV).'

# One stamp for each set of extras: an install runs again only when one of these files is newer than its stamp.
$(VENV)/.installed-%: pyproject.toml constraints.txt scripts/bootstrap.sh
	@sh scripts/bootstrap.sh $*
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/headwater demo --output build/demo $(DEMO_ARGS)

dev: $(VENV)/.installed-dev

test: $(VENV)/.installed-dev
	$(PYTEST) $(PYTEST_ARGS)

test-services: $(VENV)/.installed-dev
	sh scripts/services_needs.sh
	$(PYTEST) -m services --reruns 1 -rR $(PYTEST_ARGS)

test-long: $(VENV)/.installed-dev
	$(PYTEST) -m 'not services' --hypothesis-profile long $(PYTEST_ARGS)

plain:
	sh scripts/plain_install.sh

pythons:
	sh scripts/other_pythons.sh $(PYTHONS)

mutants: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.mutants --servers $(MUTANTS_ARGS)

against-former: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.against_former $(FORMER_ARGS)

experiments-validate: $(VENV)/.installed-dev
	$(BIN)/python -m bench.validation --part experiments --processes 1 --write

check: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --doctest-modules src

format: $(VENV)/.installed-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.installed-bench
	$(BIN)/python -m bench

docs: $(VENV)/.installed-docs
	$(BIN)/python scripts/docs_reference.py
	$(BIN)/zensical build --strict --clean

clean:
	rm -rf build dist .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests bench examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV)


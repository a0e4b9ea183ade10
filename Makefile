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

.PHONY: help demo dev test test-full test-rest test-cluster plain pythons trust soak mutants against-former \
	experiments-validate oracles check format bench docs clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make demo       run the demo on real flights, into build/demo  (DEMO_ARGS="...")'
	@echo 'make test       run the tests, without the slow ones            (PYTEST_ARGS="-x -k hops")'
	@echo 'make test-full  run all tests'
	@echo 'make test-rest  after `make test`, run what it leaves out or shortens, with a quarter of the parameters, as CI does'
	@echo 'make test-cluster  run the tests of several servers and processes; it names the servers that are missing'
	@echo 'make plain      build the wheel, and run every verb where nothing but it is installed'
	@echo 'make pythons    run the core of the tests on every newer Python that this machine has (PYTHONS=newest: on one)'
	@echo 'make trust      kill, stop and starve ingestion, two hundred times each, with every long test (hours)'
	@echo 'make mutants    break src in 120 places, and count which of them tests/laws finds; a stopped run goes on'
	@echo 'make against-former  compare the answers of this checkout, to the bit, with those of the former wheel'
	@echo 'make check      lint, format, types, layers and doctests'
	@echo 'make format     format the code and fix what ruff can fix'
	@echo 'make experiments-validate  measure the statistics of experiments, into docs/validation.md (minutes)'
	@echo 'make oracles    the libraries that tests compare ours with, each in an environment of its own'
	@echo 'make soak       keep the service under load for ten minutes'
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

test-full test-rest: $(VENV)/.installed-dev
	@# pytest ends with 5 where PYTEST_ARGS selects no test: right for one of the two runs, and an error for both
	export HEADWATER_TESTS=$(@:test-%=%); first=0; \
	$(PYTEST) $(PYTEST_ARGS) -m 'not alone' || first=$$?; \
	case $$first in 0 | 5) ;; *) exit $$first ;; esac; \
	$(PYTEST) $(PYTEST_ARGS) -n 1 -m alone || { last=$$?; [ $$first-$$last = 0-5 ] || exit $$last; }

test-cluster: $(VENV)/.installed-dev
	sh scripts/cluster_needs.sh
	HEADWATER_TESTS=cluster $(PYTEST) $(PYTEST_ARGS)

plain:
	sh scripts/plain_install.sh

pythons:
	sh scripts/other_pythons.sh $(PYTHONS)

trust: $(VENV)/.installed-dev
	HEADWATER_TRUST=long $(PYTEST) $(PYTEST_ARGS)
	HEADWATER_TRUST=long HEADWATER_TESTS=cluster $(BIN)/python -m pytest tests/cluster tests/engine/spark/test_structured_streaming.py

soak: $(VENV)/.installed-dev
	HEADWATER_TESTS=full HEADWATER_SOAK=long $(BIN)/python -m pytest tests/soak -rA

mutants: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.mutants --servers $(MUTANTS_ARGS)

against-former: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.against_former $(FORMER_ARGS)

experiments-validate: $(VENV)/.installed-dev
	$(BIN)/python -m bench.validation --part experiments --processes 1 --write

oracles:
	scripts/oracles.sh

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


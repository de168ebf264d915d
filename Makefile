# Wheeltapper: `make demo` shows it work, `make test` checks everything. Both set up .venv first; only the first time is slow.
#
#   make setup          .venv with the exact versions of constraints.txt
#   make demo           broker, training, live alerts, summary and plot; DEMO="--option ..." passes options on
#   make test           lint, types and every test; TESTS="tests/unit -k window" picks some, TESTS="-n 0" takes one process
#   make lint           ruff and mypy alone
#   make bench          measure against other frameworks on a real Kafka; BENCH="--option ..." passes options on
#   make clean          caches and build products; `make distclean` takes the virtual environments too
#
# Needs Python 3.11 or newer (PYTHON=... picks one) and make.

VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
# The first of these that runs and is new enough; a name on the PATH alone does not say that (pyenv's shims).
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$candidate && break; done)
PIP_INSTALL := -m pip install --disable-pip-version-check --no-input
TESTS ?=
# More than there are cores: many tests wait for a broker.
TEST_PROCESSES ?= 4
DEMO ?=
BENCH ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean distclean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

setup: $(VENV)/.ready
	@echo "$(VENV) is ready"

demo: $(VENV)/.ready
	@$(BIN)/wheeltapper demo $(DEMO)

test: lint
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder $(TESTS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# It makes $(BENCH_VENV) itself: quixstreams, measured beside us, wants an older confluent-kafka and pydantic than we do.
bench: $(VENV)/.ready
	$(BIN)/python tests/bench/run.py $(BENCH)

# A venv that works is kept, a broken or half-made one is made again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@if [ -z '$(PYTHON)' ] || ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "make: $(if $(PYTHON),'$(PYTHON)' is not,found no) Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; fi
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		echo "$(VENV): setting up with $$('$(PYTHON)' --version); the first time takes a minute or more"; \
		'$(PYTHON)' -m venv --clear $(VENV) || \
		{ echo "make: '$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }; fi
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf build dist out .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(BENCH_VENV)

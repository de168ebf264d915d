# Wheeltapper: `make demo` shows it work, `make test` checks everything. Both set up .venv first; only the first time is slow.
#
#   make setup          .venv with the exact versions of constraints.txt
#   make demo           broker, training, live alerts, summary and plot; DEMO="--option ..." passes options on
#   make demo-drift     a machine is serviced in mid-stream: drift, adaptation, take-over, a fault found afterwards
#   make demo-sound     a fan with a microphone: faults of known moment and frequency, alerts that name both
#   make check          lint, types, tests that need no broker, no real data, no export: about 3 minutes on two cores
#   make test           what guards a landing: lint, types, and all tests but those of the night: about 9 minutes on two cores
#   make nightly        every test, and property tests with far more examples, others every time: half an hour or more (an estimate)
#   make sbom           a bill of materials (CycloneDX) of the worker's image: dist/wheeltapper-cpu.cdx.json
#   make lint           ruff and mypy alone
#   make bench          measure against other frameworks on a real Kafka; BENCH="--option ..." passes options on
#   make clean          caches and build products; `make distclean` takes the virtual environments too
#
# check, test and nightly take TESTS="tests/unit -k window" to run some of theirs, TEST_PROCESSES=2 for fewer processes. They keep
# how long each test took in .cache/tests/TIER.xml; CPU time is compared with tests/budget.json.
# Needs Python 3.11 or newer (PYTHON=... picks one) and make.

VENV := .venv
BENCH_VENV := .venv-bench
SBOM_VENV := .venv-sbom
BIN := $(VENV)/bin
# The first of these that runs and is new enough; a name on the PATH alone does not say that (pyenv's shims).
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.13 python3 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$candidate && break; done)
PIP_INSTALL := -m pip install --disable-pip-version-check --no-input
TESTS ?=
DEMO ?=
BENCH ?=

# Tests start hundreds of processes: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

# The tiers, by the marks of pyproject.toml.
MARKS_check := not (broker or data or export or slow or nightly)
MARKS_test := not nightly
MARKS_nightly :=
# Seconds that one test may take. A property test at night tries thousands of examples.
TIMEOUT_check := 300
TIMEOUT_test := 300
TIMEOUT_nightly := 1800
# Two compute; the others begin with tests that wait for a broker: tests/helpers/distribution.py.
TEST_PROCESSES ?= $(if $(filter check,$@),2,5)
# Hypothesis' profile, of tests/helpers/profiles.py, has the tier's name too.
RUN_TIER = $(BIN)/python -m pytest -m '$(MARKS_$@)' --hypothesis-profile=$@ --timeout=$(TIMEOUT_$@) --durations=25 \
	--junitxml=.cache/tests/$@.xml --numprocesses $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder $(TESTS)

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-drift demo-sound check test nightly lint bench sbom clean distclean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

setup: $(VENV)/.ready
	@echo "$(VENV) is ready"

demo: $(VENV)/.ready
	@$(BIN)/wheeltapper demo $(DEMO)

demo-drift: $(VENV)/.ready
	@$(BIN)/wheeltapper demo-drift $(DEMO)

demo-sound: $(VENV)/.ready
	@$(BIN)/wheeltapper demo-sound $(DEMO)

check test nightly: lint
	$(RUN_TIER)
	@$(BIN)/python -m tests.budget .cache/tests/$@.xml $@

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# It makes $(BENCH_VENV) itself: quixstreams, measured beside us, wants an older confluent-kafka and pydantic than we do.
bench: $(VENV)/.ready
	$(BIN)/python tests/bench/run.py $(BENCH)

# Of what deploy/lock.py has resolved, with versions and hashes; its tool has a venv of its own.
sbom: $(VENV)/.ready
	@[ -x $(SBOM_VENV)/bin/cyclonedx-py ] || { '$(PYTHON)' -m venv --clear $(SBOM_VENV) && \
		$(SBOM_VENV)/bin/python $(PIP_INSTALL) 'cyclonedx-bom==7.5.0'; }
	@mkdir -p dist
	@for file in deploy/requirements-*.txt; do \
		image=$${file#deploy/requirements-}; bill=dist/wheeltapper-$${image%.txt}.cdx.json; \
		$(SBOM_VENV)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file $$bill $$file && \
		echo "$$bill is written"; done

# A venv that works is kept, a broken or half-made one is made again.
$(VENV)/.ready: pyproject.toml constraints.txt
	@if [ -z '$(PYTHON)' ] || ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "make: $(if $(PYTHON),'$(PYTHON)' is not,found no) Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3.11" >&2; exit 2; fi
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
		echo "$(VENV): setting up with $$('$(PYTHON)' --version); the first time takes a minute or more"; \
		'$(PYTHON)' -m venv --clear $(VENV) || \
		{ echo "make: '$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }; fi
	@# Two builds of onnxruntime would overwrite each other's files.
	@if $(BIN)/python -m pip show onnxruntime-gpu >/dev/null 2>&1; then \
		$(BIN)/python -m pip uninstall --yes --quiet onnxruntime-gpu onnxruntime; fi
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	@# As pip does with what it copies: where PYTHONDONTWRITEBYTECODE is set, every start would compile every module.
	$(BIN)/python -m compileall -q deploy models schemas stream training wheeltapper
	@touch $@

clean:
	rm -rf build dist out .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(BENCH_VENV) $(SBOM_VENV)

# make demo | test | test-… | lint | docs | bench | load | fuzz | clean. Everything runs in .venv, made on first use.
# Written for GNU make 3.81, which is what macOS brings.

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/installed
ARGS    ?=

# The first interpreter that runs and is new enough; `make PYTHON=…` overrides it.
PYTHON  ?= $(firstword $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p"; done))

# The tests start many interpreters: none compiles again what another has.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-long test-pythons test-crashes test-histories test-meanwhile test-faults test-model test-servers lint docs bench bench-naive bench-others bench-growth load mutants fuzz clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    run a pipeline, kill it, resume it, look at what is stored'
	@echo 'make test    lint, types, layers and all tests   (ARGS="-k save" for pytest)'
	@echo 'make test-long  the same, with larger samples'
	@echo 'make test-pythons  by each Python from 3.11 to 3.14 that is here, in an environment of its own'
	@echo 'make test-model  thousands of steps of each state machine: twenty minutes'
	@echo 'make test-crashes  kill each operation, and cut its power, at every effect: an hour; ARGS="--kills 25 --cuts 30", a sample of all: six minutes'
	@echo 'make test-histories  explain what processes saw of one store, three minutes for each kind of store (CHECKPOINTDB_HISTORY_SECONDS)'
	@echo 'make test-meanwhile  let another act in the middle of each operation: two hours, by the pace of a sample; ARGS="--points 12", a sample of all: a quarter of an hour'
	@echo 'make test-faults  let each call of each operation fail, in every way: hours; ARGS="--calls 5", a sample of all: minutes'
	@echo 'make test-servers  what is tested on real servers: Ceph, and PostgreSQL that fails over (root gets them by apt-get)'
	@echo 'make lint    ruff, mypy and import-linter alone'
	@echo 'make docs    the site of docs/, in build/site'
	@echo 'make bench   all of the next three, with JSON and pictures in build/: more than an hour'
	@echo 'make bench-naive   each part beside the naive way'
	@echo 'make bench-others  beside joblib, diskcache, disk-objectstore, sqlitedict, LangGraph, DVC and restic'
	@echo 'make bench-growth  how each of these grows, to ten thousand checkpoints and to 2 GB'
	@echo 'make mutants plant bugs, one by one, and see which test catches each'
	@echo 'make load    twenty writers in one store on PostgreSQL'
	@echo 'make fuzz    look for payloads that are neither read nor refused, for a minute'
	@echo 'make clean   remove .venv, caches and build results'

demo: $(STAMP)
	@$(BIN)/python -m examples.demo $(ARGS)

# By more processes than cores: most tests wait for the disk, or for processes of their own.
test: lint
	$(BIN)/python -m pytest -n 3 $(ARGS)

# What `make test` takes a sample of, whole: some minutes more.
test-long: export CHECKPOINTDB_LONG_TESTS = 1
test-long: test

# Each in an environment of its own.
test-pythons:
	@for each in python3.11 python3.12 python3.13 python3.14; do \
		"$$each" -c '' >/dev/null 2>&1 || { echo "$$each is not here"; continue; }; \
		$(MAKE) test PYTHON="$$each" VENV=".venv/$$each" || exit 1; \
	done

# Tells at its end how many steps each machine made.
test-model: export HYPOTHESIS_PROFILE = nightly
test-model: $(STAMP)
	$(BIN)/python -m pytest -n 2 tests/stateful $(ARGS)

test-crashes: $(STAMP)
	$(BIN)/python tests/crash $(ARGS)

test-histories: export CHECKPOINTDB_HISTORY_SECONDS ?= 180
test-histories: $(STAMP)
	$(BIN)/python -m pytest -rP tests/concurrency/test_observed_histories.py $(ARGS)

test-meanwhile: $(STAMP)
	$(BIN)/python tests/meanwhile $(ARGS)

test-faults: $(STAMP)
	$(BIN)/python tests/faults $(ARGS)

# What the servers are, in Debian; what cannot be had there is skipped, and said so.
SERVERS := postgresql patroni etcd-server radosgw ceph-mon ceph-osd ceph-mgr ceph-common

# One process: each would start servers of its own.
test-servers: export CHECKPOINTDB_TEST_SERVERS = 1
test-servers: $(STAMP)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get install -qq -y --no-install-recommends $(SERVERS) >/dev/null || \
		echo 'not all of these could be installed: $(SERVERS)'; fi
	$(BIN)/python -m pytest -m servers $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Anew each time: what autodoc reads from the sources, an older build would not look at again.
docs: $(STAMP)
	$(BIN)/python -m sphinx -E -q -W --keep-going -d build/doctrees docs build/site
	@echo 'build/site/index.html'

# Twenty processes that save into one store on PostgreSQL, which restarts meanwhile.
load: $(STAMP)
	$(BIN)/python -m tests.benchmarks.load $(ARGS)

# One after the other, also under `make -j`: they would measure each other.
bench:
	$(MAKE) bench-naive ARGS="--json build/bench/naive.json"
	$(MAKE) bench-others ARGS="--json build/bench/others.json --pictures build/bench"
	$(MAKE) bench-growth ARGS="--json build/bench/growth.json --pictures build/bench"

bench-naive: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Not a part of `dev`: what it is compared with is needed for nothing else. Where restic cannot be
# had, the table says that it failed.
bench-others: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get install -qq -y --no-install-recommends restic >/dev/null || \
		echo 'restic could not be installed'; fi
	$(BIN)/python -m tests.benchmarks.rivals $(ARGS)

bench-growth: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.benchmarks.rivals.growth $(ARGS)

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants $(ARGS)

# Not a part of `dev`: atheris has wheels for Linux alone.
fuzz: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	cd tests/hostile && "$(abspath $(BIN))/python" fuzz.py -max_total_time=60 $(ARGS)

clean:
	rm -rf $(VENV) .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo 'checkpointdb needs Python 3.11 or newer, and none was found.'; \
		echo 'Install it, or name it: make PYTHON=/path/to/python3.11 …'; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo '$(PYTHON) does not run or is older than 3.11, which checkpointdb needs.'; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments.'; \
		echo 'On Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	@echo 'Making $(VENV) with $(PYTHON) (once; it may take a minute) …'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

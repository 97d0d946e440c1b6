# Everything runs inside .venv, which is made from the requirements files on first use.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTEST_OPTIONS ?=
# The demo: where it keeps its state, what it replays (empty: see README), how fast, and whether it ends by itself.
DATA ?=
RATE ?=
ONCE ?=
# embedded: files; full: Kafka, MongoDB, Redis, StatsD and Graphite, started where they are not up.
STACK ?= embedded

.PHONY: help install test fuzz contracts lint docs quality bench bench-quick demo services-up services-down services-status reset clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: requirements.txt
	@echo "installing into $(VENV) (torch is large: minutes on a slow line)"
	@start=$$(date +%s); \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt; \
	echo $$(( $$(date +%s) - start )) > $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

install: $(VENV)/installed ## make .venv with what the services need

test: $(VENV)/installed-dev ## everything; what needs a server that is not up (make services-up) is skipped aloud
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	eval "$$($(BIN)/python -m services env --tests)"; $(BIN)/python -m pytest $(PYTEST_OPTIONS)

fuzz: $(VENV)/installed-dev ## generated requests to both servers, more of them than in make test: EXAMPLES=<of every operation>
	SCHEMATHESIS_EXAMPLES="$(or $(EXAMPLES),50)" $(BIN)/python -m pytest tests/system/test_schemathesis.py

contracts: $(VENV)/installed-dev ## the contract of every port against every adapter and server that is up, as a table
	eval "$$($(BIN)/python -m services env --tests)"; $(BIN)/python -m tests.contracts

lint: $(VENV)/installed-dev ## mend what ruff can mend, then check types
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

docs: $(VENV)/installed ## regenerate the settings table and the metrics page
	$(BIN)/python -m docs.generate

quality: $(VENV)/installed ## measure what docs/quality.md shows: DATA=<folder of the three streams>, a quarter of an hour
	$(BIN)/python -m benchmarks.quality_page $(if $(DATA),--data "$(DATA)")

$(VENV)/installed-bench: $(VENV)/installed requirements-bench.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

bench: $(VENV)/installed-bench ## how fast it is, beside its rivals: writes docs/performance.md; DATA=<folder of the NCF files>
	$(BIN)/python -m benchmarks.suite $(if $(DATA),--data "$(DATA)")

bench-quick: $(VENV)/installed-bench ## the same in small worlds, minutes in all, writing nothing
	$(BIN)/python -m benchmarks.suite --quick

demo: $(VENV)/installed ## the whole loop on this machine: ONCE=1 ends by itself, DATA=<folder or file>, RATE=<events/s>, STACK=full
	$(BIN)/python -m demo --stack "$(STACK)" $(if $(ONCE),--once) $(if $(DATA),--data "$(DATA)") $(if $(RATE),--rate "$(RATE)")

services-up: $(VENV)/installed ## start real servers behind the deployed adapters: in Docker where it runs, else as local processes
	@$(BIN)/python -m services up

services-down: $(VENV)/installed ## stop them; what they hold stays below data/services
	@$(BIN)/python -m services down

services-status: $(VENV)/installed ## which of them answer, and where
	@$(BIN)/python -m services status

reset: ## forget what the demo learned
	rm -rf data/demo data/demo-full

clean: reset ## forget everything, .venv too
	rm -rf $(VENV)

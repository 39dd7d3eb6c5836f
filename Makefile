# Two commands matter: `make demo` and `make test`. Each installs what it lacks and says what it does.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
ENVIRONMENT := $(TARGET)/setup.env
LOG := $(TARGET)/test.log
export DRIFTLINE_TIMES := $(TARGET)/times.tsv
TIMED := tests/setup/timed.sh
# What `make setup` noted: LIBTORCH and the rest.
WITH := source "$(ENVIRONMENT)" &&

.PHONY: help demo test test-kafka build setup lint tests clean fresh

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: fresh ## The whole loop on real data: install what is missing, build, run it
	@status=0; { \
	  $(TIMED) setup tests/setup/setup.sh "$(TARGET)/demo.env" demo && \
	  source "$(TARGET)/demo.env" && \
	  $(TIMED) build cargo build --workspace --bins && \
	  $(TIMED) demo "$(TARGET)/debug/driftline" demo $(ARGS); } || status=$$?; \
	tests/setup/times.sh; exit $$status

test: fresh ## Install what is missing, then lint and test everything
	@status=0; { $(MAKE) setup && $(MAKE) build && $(MAKE) lint && $(MAKE) tests; } || status=$$?; \
	tests/setup/times.sh; exit $$status

setup: ## Only install what is missing
	@$(TIMED) setup tests/setup/setup.sh "$(ENVIRONMENT)" test

build: $(ENVIRONMENT) ## Build all programs
	@$(WITH) $(TIMED) build cargo build --workspace --bins

lint: $(ENVIRONMENT) ## Formatting, clippy, and the core without any cargo feature
	@$(TIMED) fmt cargo fmt --all --check
	@$(WITH) $(TIMED) core cargo check --lib --no-default-features
	@$(WITH) $(TIMED) clippy cargo clippy --workspace --all-targets -- -D warnings

tests: $(ENVIRONMENT) ## Only run the tests
	@$(WITH) $(TIMED) 'build tests' cargo test --workspace --no-run
	@$(WITH) $(TIMED) tests tests/setup/with_postgres.sh cargo test --workspace --no-fail-fast 2>&1 | tee "$(LOG)"

test-kafka: fresh ## The Kafka source against a broker that speaks its protocol; builds librdkafka
	@status=0; { $(MAKE) setup && \
	  $(WITH) export DRIFTLINE_KAFKA_BROKER=$$(python3 tests/setup/brokers.py kafka | tail -n 1) && \
	  $(TIMED) 'clippy kafka' cargo clippy --workspace --all-targets --features driftline/kafka -- -D warnings && \
	  $(TIMED) 'build kafka' cargo test --workspace --features driftline/kafka --no-run && \
	  $(TIMED) 'tests kafka' tests/setup/with_postgres.sh \
	    cargo test --workspace --features driftline/kafka -- kafka; } || status=$$?; \
	tests/setup/times.sh; exit $$status

clean: ## Remove what was built; what was installed stays in the cache
	cargo clean
	rm -rf .driftline

fresh:
	@rm -f "$(DRIFTLINE_TIMES)" "$(LOG)"

$(ENVIRONMENT):
	@$(MAKE) setup

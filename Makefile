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
FUZZ_SECONDS ?= 600
FUZZ_TARGETS := exchange inflate predictions events protobuf rules settings
# What `make setup` noted: LIBTORCH and the rest.
WITH := source "$(ENVIRONMENT)" &&

.PHONY: help demo test test-page test-servers test-dashboards stack build setup lint tests clean fresh fuzz test-kafka

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

test-servers: build ## Ask real model servers with real clients through driftline: some 2.5 GB of them are installed first
	@environments=$$($(TIMED) environments tests/servers/environments.sh) && $(WITH) \
	  tests/setup/with_postgres.sh tests/servers/run.py --binary "$(TARGET)/debug/driftline" --environments "$$environments" $(ARGS)

test-page: build ## Walk a browser through the page on the demo's data; installs Chromium and Playwright if they are missing
	@$(TIMED) 'set up page' tests/page/setup.sh "$(TARGET)/page" && $(WITH) \
	  $(TIMED) page tests/setup/with_postgres.sh tests/page/run.sh "$(TARGET)/debug" "$(TARGET)/page" $(ARGS)

test-dashboards: ## Grafana's schema for the dashboards, hadolint and the Compose schema for the images: 600 MB are installed first
	@{ read -r python; } < <($(TIMED) environment tests/stack/environment.sh) && $(TIMED) dashboards "$$python" tests/stack/static.py

stack: build ## The services of docker-compose.yml as processes, until every panel has data (ARGS=--serve leaves them up)
	@{ read -r python && read -r prometheus; } < <($(TIMED) environment tests/stack/environment.sh) && \
	  "$$python" tests/stack/static.py && $(WITH) $(TIMED) stack tests/setup/with_postgres.sh "$$python" tests/stack/run.py \
	  --binaries "$(TARGET)/debug" --python "$$python" --prometheus "$$prometheus" $(ARGS)

test-api: $(ENVIRONMENT) ## Ask the API everything that schemathesis can think of
	@$(WITH) $(TIMED) 'test api' tests/setup/with_postgres.sh cargo test --workspace --test it -- --ignored api_document

fuzz: ## Look for crashes in what reads bytes from outside, FUZZ_SECONDS (600) per target
	@command -v cargo-fuzz > /dev/null || cargo install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p "$(TARGET)/fuzz/corpus/$$target" "$(TARGET)/fuzz/artifacts/$$target" && \
	  $(TIMED) "fuzz $$target" env RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none \
	    --target-dir "$(TARGET)/fuzz/build" "$$target" "$(TARGET)/fuzz/corpus/$$target" "tests/fuzz/corpus/$$target" -- \
	    -artifact_prefix="$(TARGET)/fuzz/artifacts/$$target/" -max_total_time=$(FUZZ_SECONDS) -max_len=16384 \
	    -timeout=20 -rss_limit_mb=4096 || exit 1; \
	done

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

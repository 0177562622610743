# Ringvox. `make help` lists what there is to say; everything installs what it needs by itself.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export CARGO_TARGET_DIR ?= $(CURDIR)/target

NODE_READY := tests/interop/node_modules/.ready
PYTHON_READY := tests/.venv/.ready
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
BENCH ?= wire srtp forwarding control send
BENCH_REPORT ?= $(CARGO_TARGET_DIR)/micro-benches.md

# The runner must be of the library's version.
GATE_VERSION := $(shell sed -n '/^name = "gungraun"$$/{n;s/.*"\(.*\)"/\1/p}' Cargo.lock)
GATE_ROOT := $(CARGO_TARGET_DIR)/gungraun-runner
GATE_READY := $(GATE_ROOT)/.ready-$(GATE_VERSION)
# Compiled by itself, each package in one piece: otherwise a change here moves what is inlined there.
COUNT := set -o pipefail; CARGO_PROFILE_BENCH_CODEGEN_UNITS=1 CARGO_PROFILE_BENCH_LTO=off \
	GUNGRAUN_RUNNER="$(GATE_ROOT)/bin/gungraun-runner" \
	cargo bench -q --workspace --bench gate -- --output-format=json
REPORT := cargo run -q --release --bin bench-report --

.PHONY: help run test test-fast fuzz bench bench-gate bench-accept capacity setup setup-build setup-bench clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-18s %s\n", $$1, $$2 }'

run: setup-run ## Build in release and start the server; ARGS="--http-port 9000 ..." are passed on. Ctrl-C stops it
	@cargo build --release -p relay -p signaling -p recorder
	@exec "$(CARGO_TARGET_DIR)/release/ringvox-signaling" $(ARGS)

test: setup ## Run every check and test; ONLY="fmt clippy deny types rust interop" picks some
	@tests/setup/test.sh

test-fast: setup-build ## Only what needs no browser: formatting, lints, Rust tests
	@ONLY="fmt clippy rust" tests/setup/test.sh

fuzz: setup-build ## Fuzz every parser for FUZZ_SECONDS (600) each; FUZZ_TARGETS="sdp rtp" picks some
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		echo "==== $$target"; \
		mkdir -p "$(CARGO_TARGET_DIR)/fuzz-corpus/$$target"; \
		cargo fuzz run --fuzz-dir fuzz --target-dir "$(CARGO_TARGET_DIR)/fuzz" -s none --features libfuzzer "$$target" \
			"$(CARGO_TARGET_DIR)/fuzz-corpus/$$target" "fuzz/corpus/$$target" \
			-- -max_total_time=$(FUZZ_SECONDS) -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 || exit 1; \
	done

bench: setup-build ## Time every stage of a packet, others' code beside it; BENCH="wire srtp" ARGS=replay picks some
	@mkdir -p "$(CARGO_TARGET_DIR)" && touch "$(CARGO_TARGET_DIR)/.bench-began"
	@cargo bench --workspace $(addprefix --bench ,$(BENCH)) -- \
		--warm-up-time 0.5 --measurement-time 1 --noplot $(ARGS)
	@$(REPORT) table "$(CARGO_TARGET_DIR)/criterion" "$(CARGO_TARGET_DIR)/.bench-began" \
		'$(strip make bench $(MAKEOVERRIDES))' >"$(BENCH_REPORT)"
	@cat "$(BENCH_REPORT)"
	@printf '\nThe table: %s\nSamples and estimates: %s\n' "$(BENCH_REPORT)" "$(CARGO_TARGET_DIR)/criterion"

bench-gate: setup-gate $(GATE_READY) ## Count instructions of the same stages; fails if one takes over 3 % more than bench/baseline.json
	@$(COUNT) | $(REPORT) gate bench/baseline.json

bench-accept: setup-gate $(GATE_READY) ## Make the counts of this moment the baseline
	@$(COUNT) | $(REPORT) accept bench/baseline.json

capacity: setup-bench ## Measure what a core bears, Janus beside it, into bench/RESULTS.md; ARGS="--only delivered,sink,limit,joins,churn,load,shards"
	@[ "$$(id -u)" = 0 ] || { echo "make capacity makes network namespaces: please run it as root" >&2; exit 1; }
	@cargo build --release --workspace
	@bench/net.sh with "$(CARGO_TARGET_DIR)/release/ringvox-load" capacity \
		--relay-binary "$(CARGO_TARGET_DIR)/release/ringvox-relay" --results bench/RESULTS.md --plots bench $(ARGS)

$(GATE_READY): | setup-gate
	@rm -rf "$(GATE_ROOT)"
	@cargo install --locked --root "$(GATE_ROOT)" --version $(GATE_VERSION) gungraun-runner
	@touch $@

setup: setup-tools $(NODE_READY) $(PYTHON_READY) ## Install what tests need: browsers, ffmpeg, node and pip packages

setup-build: ## Install what a build needs
	@tests/setup/system.sh build

.PHONY: setup-run
setup-run:
	@tests/setup/system.sh run

setup-bench: ## Install what `make capacity` and `ringvox-load --peer janus` need
	@tests/setup/system.sh bench

.PHONY: setup-tools
setup-tools:
	@tests/setup/system.sh test

.PHONY: setup-gate
setup-gate:
	@tests/setup/system.sh gate

$(NODE_READY): tests/interop/package-lock.json | setup-tools
	@cd tests/interop && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(PYTHON_READY): tests/requirements.txt | setup-tools
	@python3 -m venv tests/.venv
	@tests/.venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean: ## Remove everything that was built or installed here
	@rm -rf "$(CARGO_TARGET_DIR)" tests/interop/node_modules tests/interop/out tests/.venv

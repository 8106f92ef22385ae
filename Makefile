# Two commands do everything on a fresh Debian machine with Rust: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/$(TRIPLE)/release
# Namespaces, BPF and cgroups need root: the demo, and the tests themselves. Cargo runs as who calls it, so
# that target/ stays theirs.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,MESH_BIN,MESH_LONG,SEED,SEEDS)
RUNNER := CARGO_TARGET_$(shell echo $(TRIPLE) | tr a-z- A-Z_)_RUNNER

.PHONY: help
help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: setup
setup: ## install what the build needs and this machine lacks
	@.ci/setup

.PHONY: root
root:
	@[ "$$(id -u)" -eq 0 ] || command -v sudo >/dev/null || \
	    { echo 'make: namespaces, BPF and cgroups need root: become root, or install sudo' >&2; exit 1; }

.PHONY: build
build: setup ## meshd and meshctl, optimised, into target/<host>/release
	@echo '==> building meshd and meshctl (eBPF programs included)'
	@cargo build --release --locked -p meshd -p meshctl

.PHONY: ebpf
ebpf: setup ## the eBPF programs alone
	@cargo build --release --locked -p mesh-dataplane

.PHONY: demo
demo: root build ## bring up a three-node lab, run the main job, show it, clean up
	@$(SUDO) tests/demo $(BIN)

.PHONY: test
test: root build ## every test
	@echo '==> running every test'
	@MESH_BIN=$(abspath $(BIN)) $(if $(SUDO),$(RUNNER)='$(SUDO)') \
	    cargo test --release --locked --workspace --no-fail-fast

.PHONY: test-long
test-long: export MESH_LONG := 1
test-long: test ## every test, each property as often as the issue that names it says (about an hour)

.PHONY: sim
sim: setup ## the deterministic simulation: SEEDS=n seeds, or SEED=k alone
	@cargo test --release --locked -p mesh-tests --test sim -- --nocapture

.PHONY: bench
bench: root build ## the figures of the design beside what others reach; never fails
	@echo '==> measuring (labs come and go; keep the machine quiet)'
	@MESH_BIN=$(abspath $(BIN)) $(if $(SUDO),$(RUNNER)='$(SUDO)') \
	    cargo bench --locked -p mesh-tests --bench bench

.PHONY: lint
lint: setup ## formatting, clippy, and cargo deny where it is installed
	@cargo fmt --all --check
	@cargo clippy --release --locked --workspace --all-targets --quiet -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny --log-level error check bans licenses sources; \
	    else echo 'lint: cargo-deny is not installed, skipped (cargo install cargo-deny)'; fi

.PHONY: clean
clean: ## remove what was built (the tool cache stays)
	@cargo clean
	@rm -rf ebpf/programs/target

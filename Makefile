# Two commands: `make run` builds the release binaries and runs a first container, `make test` runs every check.
SHELL := /bin/bash
TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := $${CARGO_TARGET_DIR:-target}/$(TARGET)/release

.PHONY: build run test

build:
	@./tools/prepare run
	cargo build --release --locked --bins

run: build
	@./tools/first-container "$(RELEASE)"

test:
	@./tools/prepare test
	cargo fmt --all --check
	cargo clippy --workspace --locked -- -D warnings
	cargo clippy --workspace --all-targets --locked -- -D warnings -A clippy::unwrap_used -A clippy::print_stdout -A clippy::print_stderr
	cargo build --workspace --bins --locked
	cargo test --workspace --locked

# `make demo` and `make test` do all of their set-up themselves, in .venv and target/.
#
#   ZENITH_VENV         where the private Python environment lies (default .venv)
#   ZENITH_TORCH_SETUP  a program that puts torch and torchvision into the environment whose folder it is given
#                       (default: pip install torch torchvision)
#   PYTHON              the Python to build the environment with (default python3)
#   ZENITH_PLUGINS      where the example plugins are built (default target/plugins); scripts/plugins says with what
#   ZENITH_SCHEDULER    the zenith-scheduler that the Python tests start (default target/debug/zenith-scheduler)

export ZENITH_VENV ?= $(CURDIR)/.venv
export PYTHON ?= python3
export ZENITH_PLUGINS ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/plugins
export ZENITH_SCHEDULER ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/zenith-scheduler
BIN = $(ZENITH_VENV)/bin

.PHONY: help demo test lint plugins scheduler rust-test python-test env wheel bench tidy clean

help:
	@echo "make demo    build Zenith, make a small dataset, train on it with Zenith and with torch, compare"
	@echo "make test    lints, Rust tests, Python tests, code blocks of the documents"
	@echo "make plugins build the example plugins for wasm32 into target/plugins"
	@echo "make wheel   the package, as a wheel in target/wheels and installed in .venv"
	@echo "make bench   the benchmark program (cargo run -p zenith-bench --release -- full)"

env:
	@sh scripts/environment

wheel: env
	@sh scripts/wheel release

demo: wheel
	@$(BIN)/python demo/demo.py --out out/demo

test: lint rust-test python-test

lint: env
	cargo fmt --all --check
	cargo fmt --manifest-path plugins/Cargo.toml --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	cargo clippy --manifest-path plugins/Cargo.toml --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check --quiet sdk-python demo benches-rivals
	$(BIN)/ruff format --quiet --check sdk-python demo benches-rivals

plugins:
	@sh scripts/plugins

scheduler:
	cargo build --quiet -p zenith-scheduler

rust-test: plugins
	@sh scripts/rust-tests

# Tests run against a package of their own: the one in the environment stays the release build of `make wheel`.
python-test: export PYTHONPATH = $(CURDIR)/target/python
python-test: export MYPYPATH = $(CURDIR)/target/python
python-test: env plugins scheduler
	@sh scripts/wheel dev
	$(BIN)/python -m mypy.stubtest zenith._core
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python -p sdk-python
	$(BIN)/python -m pytest sdk-python/tests docs/tests
	$(BIN)/python -m pytest zenith-scheduler/tests/schemathesis
	cd benches-rivals && $(BIN)/python -m pytest tests

tidy:
	cargo run --quiet -p xtask -- tidy

bench:
	cargo run -p zenith-bench --release -- full

clean:
	rm -rf target out .venv

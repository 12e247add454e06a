# `make help` lists what can be made. Everything sets itself up: a virtual environment in .venv, the development
# dependencies in it, and a release build of the extension. Stamp files in .venv say what is done already.

VENV    := .venv
HOST    := 127.0.0.1
PORT    := 8000
PYTEST  :=
SUITE   :=
MODULE  :=
RESCUE  :=
SEED    :=
COUNT   :=
SECONDS :=
FUZZ    :=
# of releases: what wheels are built for, and where they go
VERSIONS := 3.12 3.13 3.14 3.15
PLATFORM := manylinux_2_17
DIST     := dist
python  := $(VENV)/bin/python
export PYO3_PYTHON := $(abspath $(python))

rust_sources := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -o -name Cargo.toml)

.PHONY: help setup run compare picture bench test test-rust test-python servers conformance fuzz lint lint-rust \
        lint-python clean api wheels build-wheels sdist check-wheels try-wheels try-sdist
.DEFAULT_GOAL := help

help:  ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# -- set-up ---------------------------------------------------------------------------------------------------------

setup: $(VENV)/built  ## make .venv and build the extension in it (PYTHON=... picks the interpreter of a new one)

$(VENV)/dependencies: pyproject.toml tools/find_python.sh tools/make_venv.sh
	@echo "everloop: virtual environment and dependencies in $(VENV)"
	@interpreter=$$(PYTHON="$(PYTHON)" tools/find_python.sh); tools/need_rust.sh && [ -n "$$interpreter" ] && \
	    tools/make_venv.sh $(VENV) "$$interpreter" dev
	@touch $@

# the Python files are not copied (`develop` links to python/), so only Rust is ever built again
$(VENV)/built: $(VENV)/dependencies $(rust_sources)
	@echo "everloop: release build (a minute the first time)"
	@VIRTUAL_ENV="$(abspath $(VENV))" $(VENV)/bin/maturin develop --release
	@touch $@

# -- what it is for -------------------------------------------------------------------------------------------------

run: setup  ## serve a FastAPI app whose endpoint blocks, on everloop with rescue (HOST=, PORT=)
	@echo
	@echo "The endpoint / blocks for 10 seconds, and /health is answered all the same. Try, in two other terminals:"
	@echo
	@echo "    curl http://$(HOST):$(PORT)/"
	@echo "    curl http://$(HOST):$(PORT)/health"
	@echo
	@echo "Then see below which line blocked. Ctrl-C ends it."
	@echo
	@EVERLOOP_RESCUE=1 $(python) -m uvicorn --app-dir examples --loop everloop:new_event_loop \
	    --host $(HOST) --port $(PORT) blocked_endpoint:app

compare: setup  ## one scene on asyncio, uvloop and everloop: blocked requests, and how late /health is
	@$(python) benches/compare.py

target/liblimit.so: benches/limit.rs
	@mkdir -p target
	rustc --edition 2024 -O -C panic=abort --crate-type cdylib --crate-name limit -o $@ $<

picture: setup  ## docs/health.svg of the README: the same over time, measured and drawn
	@$(python) benches/picture.py

bench: setup target/liblimit.so  ## all other measurements, as ratios to asyncio and uvloop
	@for script in micro peers handoff rescue network scale bridge endpoints idle soak; do echo; $(python) benches/$$script.py || exit 1; done

api: setup  ## docs/api.md from the signatures and docstrings
	@$(python) tools/make_api.py

# -- checks ---------------------------------------------------------------------------------------------------------

test: test-rust test-python  ## all tests (PYTEST="..." is handed to pytest)

test-rust: setup  ## the pure crate: unit tests, properties, simulated loops, and the baton in every interleaving (loom)
	cargo test -p everloop-core -p everloop-stacks
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p everloop-core --release --test loom_baton

test-python: setup  ## the loop, through Python
	$(python) -m pytest $(PYTEST)

servers: setup  ## every server, test runner, notebook and worker of docs/servers.md, which it installs
	$(python) -m pip install --quiet --disable-pip-version-check --group servers
	$(python) -m pytest tests/test_servers.py tests/test_runners.py

# SUITE=, MODULE= (a name or a pattern) choose; RESCUE=1 turns rescue on. On another CPython: VENV=.venv-3.12 PYTHON=...
conformance: setup  ## other people's tests that only the stock loop passes (SUITE=, MODULE=, RESCUE=1)
	EVERLOOP_RESCUE=$(RESCUE) $(python) tests/conformance $(SUITE:%=--suite %) $(MODULE:%=--module '%')

# SEED= chooses the first program, COUNT= and SECONDS= how many and for how long; FUZZ= is handed on
fuzz: setup  ## random programs on asyncio and on everloop, compared (SEED=, COUNT=, SECONDS=)
	$(python) tests/fuzz $(SEED:%=--seed %) $(COUNT:%=--count %) --seconds $(or $(SECONDS),60) $(FUZZ)

lint: lint-rust lint-python  ## formatting, clippy, ruff and mypy

lint-rust: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

lint-python: setup
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

# -- releases -------------------------------------------------------------------------------------------------------

wheels:  ## wheels of all versions and the sdist in dist/, checked, installed and tried (VERSIONS=, PLATFORM=, DIST=)
	@$(MAKE) build-wheels
	@$(MAKE) sdist
	@$(MAKE) check-wheels
	@$(MAKE) try-wheels
	@$(MAKE) try-sdist

$(VENV)/release: pyproject.toml tools/find_python.sh tools/make_venv.sh
	@interpreter=$$(PYTHON="$(PYTHON)" tools/find_python.sh) && tools/make_venv.sh $(VENV) "$$interpreter" release
	@touch $@

build-wheels: $(VENV)/release
	@tools/need_rust.sh
	PATH="$(abspath $(VENV))/bin:$$PATH" tools/build_wheels.sh $(DIST) $(PLATFORM) $(VERSIONS)

sdist: $(VENV)/release
	rm -f $(DIST)/*.tar.gz
	$(VENV)/bin/maturin sdist --out $(DIST)

check-wheels: $(VENV)/release
	$(python) tools/check_wheels.py $(DIST) $(PLATFORM) $(VERSIONS)
	$(VENV)/bin/twine check --strict $(DIST)/*

# on the interpreters that are here; the others are named
try-wheels:
	@for version in $(VERSIONS); do \
	    if interpreter=$$(tools/find_python.sh $$version 2>/dev/null); then \
	        tools/try_wheel.sh $(DIST) "$$interpreter" || exit 1; \
	    else echo "CPython $$version is not here: its wheel was not tried"; fi; \
	done

try-sdist: $(VENV)/release
	tools/try_sdist.sh $(DIST) $(python)

clean:  ## remove whatever was made here
	rm -rf target dist .venv .venv-* .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f python/everloop/_native*.so

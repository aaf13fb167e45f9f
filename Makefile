# make demo   sets everything up and runs the whole system on this machine
# make test   sets everything up and passes the tests
# make check  ruff, mypy, import-linter, forge fmt      make serve  the service on the settings of .env      make clean
# of the contracts: make forge-test   make coverage   make snapshot   make slither   make fixture   (CONTRIBUTING.md)

EXTRAS ?= dev,train,postgres,cluster
BIN := .venv/bin
SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
# Not the wrapper that npm puts on the path: it exits with 0 whatever happens.
FORGE = $(abspath $(firstword $(wildcard contracts/node_modules/@foundry-rs/forge-*/bin/forge)))
SLITHER_VERSION := 0.11.6

.PHONY: setup demo test check serve clean forge-test coverage snapshot slither fixture
.DELETE_ON_ERROR:

setup: .venv/.installed contracts/node_modules/.installed

demo: setup
	@$(BIN)/veriregime demo

test: setup forge-test
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check app migrations tests
	$(BIN)/ruff check app migrations tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd contracts && $(FORGE) fmt --check

forge-test: setup
	cd contracts && $(FORGE) test

serve: setup
	@$(BIN)/veriregime serve

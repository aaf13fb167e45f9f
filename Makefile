# make demo   sets everything up and runs the whole system on this machine
# make test   sets everything up and passes the tests
# make check  ruff, mypy, import-linter      make serve  the service on the settings of .env      make clean

EXTRAS ?= dev,train,postgres,cluster
BIN := .venv/bin
SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: setup demo test check serve clean
.DELETE_ON_ERROR:

setup: .venv/.installed contracts/node_modules/.installed

demo: setup
	@$(BIN)/veriregime demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check app migrations tests
	$(BIN)/ruff check app migrations tests
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: setup
	@$(BIN)/veriregime serve

clean:
	rm -rf .venv contracts/node_modules var

.venv/.installed: pyproject.toml constraints.txt
	@python=; for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$p -c '$(SUITABLE)' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo 'make setup: no Python 3.11 or newer found: install it, or name it with make PYTHON=/path/to/python3' >&2; \
	  exit 2; fi; \
	$$python -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

contracts/node_modules/.installed: contracts/package.json contracts/package-lock.json
	@if ! command -v npm >/dev/null; then \
	  echo 'make setup: npm not found: install Node 20 or newer (it brings the Solidity compiler and anvil)' >&2; \
	  exit 2; fi
	cd contracts && npm ci --loglevel=error --no-audit --no-fund
	@touch $@

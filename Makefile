# make demo   sets everything up and runs the whole system on this machine
# make test   sets everything up and passes the tests
# make chaos  real processes killed, frozen, cut off, 300 times      make fuzz  100,000 malformed inputs      make soak  six hours
# make check  ruff, mypy, import-linter, forge fmt, tsc, prettier      make serve  the service on the settings of .env      make clean
# of the contracts: make forge-test   make coverage   make snapshot   make slither   make fixture   (CONTRIBUTING.md)

SEED ?= 1
EXTRAS ?= dev,train,postgres,cluster,tracing
BIN := .venv/bin
SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
# Not the wrapper that npm puts on the path: it exits with 0 whatever happens.
FORGE = $(abspath $(firstword $(wildcard contracts/node_modules/@foundry-rs/forge-*/bin/forge)))
SLITHER_VERSION := 0.11.6
PIP_AUDIT_VERSION := 2.10.1

.PHONY: setup demo test test-slow chaos fuzz soak check audit serve screenshots clean forge-test coverage snapshot slither fixture
.DELETE_ON_ERROR:

setup: .venv/.installed contracts/node_modules/.installed app/web/pages/.built

demo: setup
	@$(BIN)/veriregime demo

test: setup forge-test
	cd dashboard && npm test --silent
	$(BIN)/python -m pytest -n 2

# Real processes hurt in 300 ways, chosen by SEED; the report goes to var/chaos. At most 20 minutes.
chaos: setup
	$(BIN)/python -m tests.chaos --faults 300 --seed $(SEED) --hours 30 --limit-s 1140 --report var/chaos/report.json

# 100,000 malformed bundles and candle files, guided by the code that they reach.
fuzz: setup
	$(BIN)/python -m tests.fuzz --runs 100000 --seed $(SEED) --report var/fuzz/report.json

# Six hours of a fast market: does anything grow that must not?
soak: setup
	$(BIN)/veriregime bench soak --hours 6 --speed 30

# Known weaknesses of what is pinned; needs the network, so it is neither in test nor in check.
audit: setup .venv/audit/.installed
	$(BIN)/python ops/audit/audit.py --pip-audit .venv/audit/bin/pip-audit

# What takes long and is covered in small by the others: by hand, before a release.
test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check app migrations ops tests
	$(BIN)/ruff check app migrations ops tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd contracts && $(FORGE) fmt --check
	cd dashboard && npm run --silent check

forge-test: setup
	cd contracts && $(FORGE) test && $(FORGE) snapshot --check --match-test test_gas_

serve: setup
	@$(BIN)/veriregime serve

# The pictures in docs/images, of a demo of their own; look at them before you commit them.
screenshots: setup
	$(BIN)/python -m tests.e2e.screenshots

# Of contracts/src, without what only serves its tests. Fewer runs: lines count, not luck.
coverage: setup
	cd contracts && FOUNDRY_FUZZ_RUNS=16 FOUNDRY_INVARIANT_RUNS=2 FOUNDRY_OUT=build/coverage/out \
	  FOUNDRY_CACHE_PATH=build/coverage/cache $(FORGE) coverage --no-match-coverage '^test/' --report summary

# Gas of updates and reads, which forge-test compares with what it was: say in the commit why it has changed.
snapshot: setup
	cd contracts && $(FORGE) snapshot --match-test test_gas_

# In a folder and an environment of its own: it empties the one and has other needs than ours in the other.
slither: setup contracts/build/slither/venv/.installed
	cd contracts && FOUNDRY_OUT=build/slither/out FOUNDRY_CACHE_PATH=build/slither/cache \
	  PATH="$(dir $(FORGE)):$$PATH" build/slither/venv/bin/slither .

# Proofs and verifiers for the contracts' tests, under a development SRS of their own: never deploy these verifiers.
fixture: setup
	$(BIN)/python -m tests.contracts.make_fixture

clean:
	rm -rf .venv contracts/node_modules contracts/build dashboard/node_modules app/web/pages var

contracts/build/slither/venv/.installed:
	$(BIN)/python -m venv contracts/build/slither/venv
	contracts/build/slither/venv/bin/pip install --quiet --disable-pip-version-check slither-analyzer==$(SLITHER_VERSION)
	@touch $@

.venv/.installed: pyproject.toml constraints.txt
	@python=; for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	  if $$p -c '$(SUITABLE)' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo 'make setup: no Python 3.11 or newer found: install it, or name it with make PYTHON=/path/to/python3' >&2; \
	  exit 2; fi; \
	$$python -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

.venv/audit/.installed: .venv/.installed
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==$(PIP_AUDIT_VERSION)
	@touch $@

%/node_modules/.installed: %/package.json %/package-lock.json
	@if ! command -v npm >/dev/null; then \
	  echo 'make setup: npm not found: install Node 20 or newer (it builds the dashboard, and brings solc, forge and anvil)' >&2; \
	  exit 2; fi
	cd $* && npm ci --loglevel=error --no-audit --no-fund
	@touch $@

app/web/pages/.built: dashboard/node_modules/.installed $(shell find dashboard -type f -not -path '*/node_modules/*')
	cd dashboard && npm run --silent build
	@touch $@

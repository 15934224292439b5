# `make demo` shows the engine at work, `make test` runs all tests, `make help` lists the rest.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
NODE := tests/support/node
PIP_AUDIT := 2.10.1
PROJECTS := VERSION pyproject.toml clients/python/pyproject.toml
SEED = $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
FUZZED := tests/e2e/test_openapi_conformance.py tests/unit/test_input_fuzzing.py tests/unit/signing tests/unit/destinations \
	tests/unit/retries/test_retries_retry_after.py tests/unit/test_filters.py tests/unit/api/test_api_cursor_signatures.py

# honcho kills five seconds after SIGTERM, without an option to change that; a worker may need forty.
HONCHO := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -c \
	'import honcho.manager; honcho.manager.KILL_WAIT = 45; from honcho.command import main; main()'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# Tests, the demo and the Procfile start many processes, which should share compiled modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up serve db-upgrade test chaos fuzz unit check format lint imports types audit fmt showcase screenshots bench bench-full bench-held bench-isolation bench-latency bench-ledger bench-replay lock clean reset
.PHONY: runtime dev rabbitmq node chromium curl faketime guide prometheus

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- run it

demo: runtime ## Start everything, deliver signed webhooks while you watch, and stop (needs only Python)
	@$(BIN)/waybill demo

up: runtime ## Start everything on this machine, with an embedded PostgreSQL, and keep it running
	@$(BIN)/waybill dev

# honcho stops all processes when one ends, so `release` runs first.
serve: runtime ## Run the Procfile's processes (needs WAYBILL_DATABASE_URL and WAYBILL_AMQP_URL)
	@$(HONCHO) start release
	@$(HONCHO) start web relay worker

db-upgrade: runtime ## Upgrade the database of WAYBILL_DATABASE_URL to the newest schema
	@$(BIN)/waybill db upgrade

# ---------------------------------------------------------------- test it

# The longest tests start first. Each of the WORKERS has its own servers; WORKERS=0 is for a debugger.
test: dev rabbitmq node chromium curl faketime guide prometheus ## Run all tests, on private PostgreSQLs and RabbitMQs (ARGS="-k replay" goes to pytest)
	$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder tests/e2e tests/integration tests/unit $(ARGS)

chaos: dev rabbitmq faketime ## Try every fault on the whole engine, and count what was lost
	@$(BIN)/python -m tests.chaos --flood $(ARGS)

# The output begins with the seed; the same SEED repeats the same cases.
fuzz: dev rabbitmq ## Fuzz the API and all parsers for about 10 minutes, with a new seed each time (SEED=…)
	$(BIN)/python -m pytest -n $(WORKERS) --hypothesis-profile fuzz --hypothesis-seed $(SEED) $(FUZZED) $(ARGS)

unit: dev ## Run only the pure tests, in seconds
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: format lint imports types test ## Run what CI runs: format, lint, imports, types, tests

format: dev ## List files that are not formatted
	$(BIN)/ruff format --check .

lint: dev ## Check for mistakes and bad habits
	$(BIN)/ruff check .

imports: dev ## Check imports against the architecture
	$(BIN)/lint-imports

types: dev ## Check the types
	$(BIN)/mypy

# Not part of `check`, as it needs the network. `--strict`: packages that cannot be checked count as findings.
audit: dev ## Check the pinned packages for known vulnerabilities
	@$(PIP) install uv
	@$(BIN)/uv tool run pip-audit@$(PIP_AUDIT) --strict --progress-spinner off --require-hashes --disable-pip \
		$(foreach lock,requirements.lock requirements-dev.lock,--requirement $(lock)) $(ARGS) || { \
		echo "Vulnerabilities were found, or the check failed: see above." >&2; exit 1; }

fmt: dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

showcase: dev rabbitmq ## Run an engine with sample data for the console, until Ctrl-C
	@$(BIN)/python -m tests.support.serve_showcase $(ARGS)

screenshots: dev rabbitmq chromium ## Take the pictures in docs/console again
	$(BIN)/python -m tests.support.screenshots $(ARGS)

bench: dev rabbitmq ## Measure this machine in a few minutes, and a naive engine for comparison
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: dev rabbitmq ## Measure everything, in up to 40 minutes (needs 25 GB of free disk)
	$(BIN)/python -m benchmarks --full $(ARGS)

bench-latency: dev rabbitmq ## Measure the latency of each step of a delivery
	$(BIN)/python -m benchmarks.step_latency $(ARGS)

bench-held: dev ## Measure the cost of held deliveries for the relay
	$(BIN)/python -m benchmarks.held_deliveries $(ARGS)

bench-replay: dev rabbitmq ## Measure the effect of a replay on live traffic
	$(BIN)/python -m benchmarks.replay_impact $(ARGS)

bench-isolation: dev rabbitmq ## Measure the effect of bad endpoints on healthy ones
	$(BIN)/python -m benchmarks.isolation $(ARGS)

bench-ledger: dev ## Measure searches in a ledger of 5,000,000 deliveries (needs 15 GB of free disk)
	$(BIN)/python -m benchmarks.search_latency $(ARGS)

# ---------------------------------------------------------------- maintain it

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links pyproject.toml

lock: dev ## Pin the dependencies with hashes (ARGS=--upgrade for the newest)
	$(PIP) install uv
	$(LOCK) $(ARGS) --extra demo --extra editable --extra embedded --extra otel --extra serve -o requirements.lock
	$(LOCK) $(ARGS) --extra dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) --extra editable --extra otel -c requirements.lock -o deploy/requirements.lock
	npm install --prefix $(NODE) --package-lock-only --ignore-scripts --no-audit --no-fund

clean: ## Remove installed packages and caches; data stay
	rm -rf $(VENV) $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

reset: ## Delete the data of `make up`
	@if [ -e .waybill/postgres/lock ] && ! flock -n .waybill/postgres/lock true; then \
		echo "An engine runs here: stop it first." >&2; exit 1; fi
	rm -rf .waybill

# ---------------------------------------------------------------- prerequisites

runtime: $(VENV)/.runtime
dev: $(VENV)/.dev

# An environment that was moved, copied or lost its Python must be created again.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat $(VENV)/.place 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.runtime $(VENV)/.dev
CREATE_VENV = .ci/create-venv '$(PYTHON)' '$(VENV)' && printf '%s' '$(CURDIR)' >$(VENV)/.place
else
CREATE_VENV = :
endif

$(VENV)/.runtime: requirements.lock $(PROJECTS)
	$(call install,$<)
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(PROJECTS)
	$(call install,$<)
	@touch $@ $(VENV)/.runtime # it holds all of the other

define install
@$(CREATE_VENV)
@echo "Installing the dependencies of $(1) …"
@$(PIP) install --require-hashes --only-binary :all: --requirement $(1)
@$(PIP) install --no-deps --no-build-isolation --editable . --editable clients/python
endef

rabbitmq:
	@[ -n "$$WAYBILL_AMQP_URL" ] || ls /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server >/dev/null 2>&1 || \
		.ci/apt-install "A private RabbitMQ (or else a WAYBILL_AMQP_URL that names one)" rabbitmq-server

faketime:
	@ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || .ci/apt-install "A process with a wrong clock" faketime

curl:
	@command -v curl >/dev/null || .ci/apt-install "The test of the README's tour" curl

prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || \
		.ci/apt-install "The tests of alerts and dashboards" prometheus

# Go and Java are tested if installed; these are small.
guide:
	@command -v openssl >/dev/null && command -v ruby >/dev/null && command -v php >/dev/null || \
		.ci/apt-install "The tests of the guide for receivers" openssl ruby php-cli

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		.ci/apt-install "The tests of the console" chromium fonts-dejavu-core

node: $(NODE)/node_modules/.package-lock.json

$(NODE)/node_modules/.package-lock.json: $(NODE)/package-lock.json
	@command -v node >/dev/null && command -v npm >/dev/null || \
		.ci/apt-install "The tests that use npm packages: a receiver that verifies, a judge of accessibility" nodejs npm
	@echo "Installing the npm packages of $(NODE) …"
	@npm ci --prefix $(NODE) --silent --ignore-scripts --no-audit --no-fund
	@touch $@

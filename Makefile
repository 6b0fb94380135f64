# Thin on purpose: what each target does is in scripts/, so that it works without make too.
PYTHON ?= python3
VENV_PYTHON = .venv/bin/python
IS_3_13 = 'import sys; sys.exit(sys.version_info < (3, 13))'

# Tests wait for servers more than they compute, so three workers suit two cores.
PYTEST_AT_ONCE = -n 3 --dist worksteal
# Containers often forbid to keep bytecode. Then each worker would compile all the tests again.
PYTEST = PYTHONDONTWRITEBYTECODE= $(VENV_PYTHON) -m pytest

.PHONY: run check test test-deep test-func test-like-flex test-own-bot test-browser status lint bench bench-peers lock audit teams-package install clean

run: ## chat with the bot on this machine
	@$(PYTHON) -m scripts.run

check: lint ## format, lint, types and the quick unit tests: about a minute, for every save
	$(PYTEST) -m "not deep and not slow" $(PYTEST_AT_ONCE) tests/unit $(wildcard tests/sample) --ignore tests/sample/test_over_http.py

test: lint ## what every change must pass
	$(PYTEST) $(PYTEST_AT_ONCE)
	@if python3.13 -c '' 2>/dev/null && ! $(VENV_PYTHON) -c $(IS_3_13); then \
		$(MAKE) --no-print-directory test-3.13; fi

test-deep: install ## every schedule of the largest small scenarios, which `make test` leaves out
	$(PYTEST) -m deep $(PYTEST_AT_ONCE) tests/simulation

test-3.13: # the newest Python, with Microsoft's own worker library
	@python3.13 -m scripts.install .venv-3.13
	.venv-3.13/bin/python -m pytest $(PYTEST_AT_ONCE)

test-func: install ## the tests that speak HTTP, on func (Core Tools) in place of the local host
	$(VENV_PYTHON) -m tests.on_func $(PYTEST_AT_ONCE)

test-like-flex: install ## expiry, sending and fan-out with a process for each group of functions, as on Azure
	$(VENV_PYTHON) -m tests.on_flex $(PYTEST_AT_ONCE)

test-own-bot: install ## in a copy with an echo bot in shared/bot and without the sample: lint, types, quick tests
	$(VENV_PYTHON) -m tests.own_bot $(PYTEST_AT_ONCE) tests/unit tests/e2e/test_messages.py tests/e2e/test_local_run.py

test-browser: install ## chats with warnings, and the status page, in Debian's Chromium, installed if it is missing
	@test -x /usr/bin/chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	$(PYTEST) -n 2 --dist loadfile tests/browser

status: install ## how expiry is doing: of the storage in the environment, or else of `make run`
	@$(VENV_PYTHON) -m scripts.with_local_settings python -m shared.cli status

lint: install ## format, lint, types, and which room may import which
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	.venv/bin/lint-imports

bench: install ## what a turn, a send and a sweep cost
	$(VENV_PYTHON) -m benchmarks

bench-peers: install ## a turn beside the same by hand and on living SDKs, in an environment of their own
	$(VENV_PYTHON) -m benchmarks.peers

lock: install ## pin what requirements*.in ask for; UPGRADE=--upgrade takes the newest versions
	$(VENV_PYTHON) -m scripts.lock $(UPGRADE)

audit: install ## known vulnerabilities in what is deployed, and in the tools of development
	$(VENV_PYTHON) -m scripts.audit

teams-package: ## appPackage/build/appPackage.zip, to be uploaded to Teams
	@$(PYTHON) -m scripts.teams_package

install: ## the virtual environment and node_modules, if not up to date
	@$(PYTHON) -m scripts.install

clean: ## remove what was installed or stored here; local.settings.json stays
	rm -rf .venv .venv-3.13 .venv-peers build node_modules .azurite devTools .mypy_cache .pytest_cache .ruff_cache .hypothesis

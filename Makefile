# make demo        see it work, with no workspace: sandbox, login, status, token, models
# make test        lint, types, and every test with its coverage
# make test-hard   storms, crashes, full disks, hostile servers, and mutants of what keeps logins safe; takes minutes
# make test-clients  the gateway, one failure after the other, and real clients against the sandbox; takes minutes
# make clients     those clients: what is large, or wants libraries of its own, in a folder outside of this one
# make pictures    docs/*.svg of what status and models look like, and docs/login.png where Chromium is
# make tables      the tables of docs/*.md, from the code
# make catalogue   what a workspace serves (yours, or the sandbox) that dbx_auth/catalogue.toml does not know
# make completions completions/, from the commands
# make man         man/, a page for each verb, from the commands
# make bench       what a token costs beside Python itself, a list of 5,000 models, and each fix of a large request

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := tests/oidc_provider tests/js_sdk
export DBX_AUTH_TEST_CLIENTS ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dbx-auth-test-clients
CLIENTS := $(DBX_AUTH_TEST_CLIENTS)
AGENTS := claude codex gemini opencode pi
NPM := $(AGENTS) continue
VENVS := litellm aider dbt
EXAMPLES ?= 2000
# On a machine that is shared a test may fail beside others: what fails is tried once more, alone, and both are shown.
# Where not all were run (another exit code than 1) there is nothing to try again.
ALONE := pytest --last-failed --last-failed-no-failures none
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-hard test-clients clients lint pictures tables catalogue completions man bench clean

demo: $(VENV)/.demo
	@$(BIN)/python docs/demo.py

test: lint $(NODE:%=%/node_modules/.package-lock.json)
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n 4 --dist worksteal || { [ $$? -eq 1 ] && $(BIN)/coverage run -m $(ALONE); }
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --skip-covered --skip-empty --fail-under=95

test-hard: $(VENV)/.dev $(NODE:%=%/node_modules/.package-lock.json)
	$(BIN)/python tests/mutants || $(BIN)/python tests/mutants
	$(BIN)/pytest -n 3 --dist loadfile tests/hard || { [ $$? -eq 1 ] && $(BIN)/$(ALONE) tests/hard; }
	DBX_AUTH_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 2 --timeout 600 tests/unit/test_fixes_hold.py

test-clients: $(VENV)/.dev clients $(NODE:%=%/node_modules/.package-lock.json)
	$(BIN)/pytest -n 3 --dist worksteal tests/gateway || { [ $$? -eq 1 ] && $(BIN)/$(ALONE) tests/gateway; }
	$(BIN)/pytest -n 2 --dist worksteal tests/clients || { [ $$? -eq 1 ] && $(BIN)/$(ALONE) tests/clients; }

clients: $(VENVS:%=$(CLIENTS)/%/.installed) $(NPM:%=$(CLIENTS)/%/node_modules/.package-lock.json)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

pictures: $(VENV)/.dev
	$(BIN)/python docs/pictures.py

tables: $(VENV)/.dev
	$(BIN)/python docs/tables.py
	PYTHONPATH=tests $(BIN)/python -m agreement.page > docs/agreement.md

catalogue: $(VENV)/.demo
	@$(BIN)/python docs/missing.py

completions: $(VENV)/.dev
	for shell in bash zsh fish; do $(BIN)/dbx-auth completion $$shell > completions/dbx-auth.$$shell; done
	$(BIN)/dbx-auth completion powershell > completions/dbx-auth.ps1

man: $(VENV)/.dev
	$(BIN)/python docs/manpages.py

bench: $(VENV)/.dev
	$(BIN)/python -P benchmarks/token.py
	$(BIN)/python -P benchmarks/models.py
	$(BIN)/python -P benchmarks/fixes.py

clean:
	rm -rf $(VENV) $(NODE:%=%/node_modules) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade 'pip>=25.1'

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(PIP) --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	$(PIP) --group dev
	@touch $@

# Each wants versions of its own; aider, a Python before 3.13 (PYTHON=python3.12).
$(CLIENTS)/%/.installed: tests/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Each is one package of one version, and some registries have it for one platform only, which no lock file allows for.
$(CLIENTS)/%/node_modules/.package-lock.json: tests/js_%/package.json
	mkdir -p $(CLIENTS)/$*
	cp $< $(CLIENTS)/$*
	cd $(CLIENTS)/$* && npm install --silent --no-audit --no-fund --no-package-lock
	@touch $@

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --silent --no-audit --no-fund
	@touch $@

# make demo | test | fault | bench | check | install | lock | clean — each makes what it needs.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test fault interop bench check tools lint-deploy docs messages screenshots proto lock clean

help:
	@echo "make demo     real servers, a demo site, a report           (make demo ARGS=--exit ends by itself)"
	@echo "make test     all tests against real local servers          (make test ARGS=tests/unit for one folder)"
	@echo "make fault    every fault under 1,000,000 readings, 20 minutes (make fault ARGS='--seed 7' repeats a run)"
	@echo "make interop  third-party Sparkplug clients against the real thing (npm and PyPI needed)"
	@echo "make bench    what it does a second, beside what the machine could do (make bench ARGS=a for one figure)"
	@echo "make drill    back up, lose everything, restore, and hold the evidence side by side"
	@echo "make check    lint and types"
	@echo "make lint-deploy  compose, image, systemd units, chart, dashboards, by their own tools (make tools fetches those)"
	@echo "make install  the command, as .venv/bin/jcm-mrv"

install: $(VENV)/.run

demo: $(VENV)/.run
	@$(VENV)/bin/jcm-mrv demo $(ARGS)

test: $(VENV)/.dev
	@$(RUN) -m $(if $(ARGS),pytest -m "not long" $(ARGS),tests.parts)

fault: $(VENV)/.dev
	@$(RUN) -m pytest tests/fault -m long --timeout 1800 $(ARGS)

interop: $(VENV)/.dev
	@$(RUN) -m pytest tests/interop -m long $(ARGS)

bench: $(VENV)/.dev
	@$(RUN) -m tests.bench $(ARGS)

drill: $(VENV)/.dev
	@$(RUN) -m tests.integration.keeping_drill

check: $(VENV)/.dev
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

# What a chart, a compose file and an image are read by; without them their tests are skipped. Needs Go.
TOOLS := .local/tools/bin
HELM := helm.sh/helm/v3/cmd/helm@v3.21.4
COMPOSE := github.com/docker/compose/v2/cmd@v2.40.3
tools: $(VENV)/.dev
	@command -v go > /dev/null || { echo "Go is needed: apt-get install golang"; exit 1; }
	@mkdir -p $(TOOLS)
	GOBIN=$(CURDIR)/$(TOOLS) go install -trimpath $(HELM)
	cd .local/tools && printf 'module tools\n' > go.mod && go get $(COMPOSE) && go build -trimpath -o bin/docker-compose $(firstword $(subst @, ,$(COMPOSE)))

lint-deploy: $(VENV)/.dev
	@$(RUN) -m pytest -q tests/unit/test_deploy_compose.py tests/unit/test_deploy_grafana.py tests/unit/test_deploy_helm.py \
	  tests/unit/test_deploy_names.py tests/unit/test_deploy_systemd.py $(ARGS)

docs: $(VENV)/.run
	@$(RUN) -m deploy.reference > docs/reference.md
	@$(RUN) -m deploy.families docs/devices.md
	@$(RUN) -m deploy.methodology_page > docs/methodologies.md

# What pages say, for translators: new messages come in empty, what no page says any more goes.
LOCALE := deploy/web/locale
BABEL = $(RUN) -m babel.messages.frontend -q
messages: $(VENV)/.dev
	@$(BABEL) extract -F $(LOCALE)/babel.cfg --no-location --sort-output --omit-header -o $(LOCALE)/messages.pot deploy/web
	@for language in ja th; do $(BABEL) update -i $(LOCALE)/messages.pot -o $(LOCALE)/$$language.po -l $$language \
	  --no-fuzzy-matching --ignore-obsolete --omit-header -w 120 || exit 1; done
	@rm $(LOCALE)/messages.pot

# Of the running product, in a real Chromium; into docs/images.
screenshots: $(VENV)/.dev
	@$(RUN) -m tests.browser.screenshots

proto: $(VENV)/.dev
	@$(RUN) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. devices/sparkplug/sparkplug_b.proto

# Pinned and hashed; the index is the one this machine's pip is set up with.
lock:
	uv pip compile pyproject.toml --extra build --extra gateway --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --custom-compile-command "make lock" -q -o requirements/run.txt
	uv pip compile pyproject.toml --extra build --extra gateway --extra test --extra check -c requirements/run.txt --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" -q -o requirements/dev.txt
	uv pip compile requirements/gateway.in -c requirements/run.txt --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -q -o requirements/gateway.txt

clean:
	@test ! -x $(VENV)/bin/jcm-mrv || $(VENV)/bin/jcm-mrv local stop
	rm -rf $(VENV) .local .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv (or make PYTHON=/path/to/python3)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is needed: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the pinned packages into $(VENV)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing the pinned test packages into $(VENV)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

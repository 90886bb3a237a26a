# `make demo` and `make test` need nothing but a Python of 3.11 to 3.13: they fill .venv from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

# The stronger packs and the workshop's photos, where this checkout has them beside it.
SHARED := $(abspath ../shared)
ifneq ($(wildcard $(SHARED)/insightface),)
export SELFIEGATE_INSIGHTFACE__ROOT ?= $(SHARED)/insightface
export SELFIEGATE_INSIGHTFACE__PACK ?= buffalo_sc_dequant
endif
PHOTOS := $(wildcard $(SHARED)/photos/workshop)

.PHONY: demo up ui test check bench audit lock clean

demo: .venv/filled  ## four photos through the flow, from nothing to verdicts
	rm -rf .demo && mkdir -m 700 .demo
	SELFIEGATE_HOME=.demo/selfiegate PREFECT_HOME=.demo/prefect $(BIN)/selfiegate demo $(if $(PHOTOS),--photos $(PHOTOS))

up: .venv/filled  ## everything on this machine: S3 events to verdicts, watched in Prefect's UI
	rm -rf .up
	$(BIN)/selfiegate up

ui: .venv/filled  ## Prefect's UI on the demo's runs
	PREFECT_HOME=.demo/prefect PREFECT_SERVER_ANALYTICS_ENABLED=false $(BIN)/prefect server start

test: .venv/filled
	$(BIN)/pytest -q

check: .venv/filled  ## what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint deployments/aws/template.yaml
	$(BIN)/pytest -q

bench: .venv/filled
	$(BIN)/python -m benchmarks.gallery
	$(BIN)/python -m benchmarks.flow

audit: .venv/filled  ## known holes in what is locked; needs the internet
	$(BIN)/uvx pip-audit -r requirements.lock --require-hashes --disable-pip

lock: .venv/filled  ## after a change of dependencies in pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
	    --no-header --no-emit-index-url pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .demo dist

.venv/filled: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

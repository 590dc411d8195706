# Every target makes the environment it needs: `make book` and `make test` work on a fresh clone.
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
NB      ?= $(sort $(wildcard notebooks/*.ipynb))
PORT    ?= 8000
# More options for pytest, as in ARGS="-k fleet", and for `make bench`.
ARGS    ?=
# Test files, and so notebooks, run side by side in this many processes; none uses more than one thread.
JOBS    ?= 2
# The stamp is named after what it stands for, so that a changed lock installs again.
LOCK    := $(shell cat requirements.lock pyproject.toml tools/setup_env.sh 2>/dev/null | cksum | cut -d' ' -f1)
STAMP   := $(VENV)/.installed-$(LOCK)
# The libraries that the package is compared with have an environment of their own.
BENCH   := .venv-bench
PEERS   := $(shell cat requirements.lock pyproject.toml benchmarks/requirements.txt benchmarks/setup_env.sh 2>/dev/null | cksum | cut -d' ' -f1)
PYTEST   = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
NBVAL   := --nbval --nbval-current-env --nbval-cell-timeout=300
BROWSER := tools/browser

# One thread and a fixed hash seed: what the stored outputs were made with.
export PYTHONHASHSEED := 0
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# Progress bars would be compared with the stored outputs.
unexport METAAD_PROGRESS

.DEFAULT_GOAL := help
OUT     ?= reader
.PHONY: help setup book pdf zip reader-notebooks check-reader test test-unit test-notebooks test-portable notebooks check-notebooks lab lab-sources \
        serve lint format bench bench-glyphs bench-baselines bench-aae bench-watching bench-evidence bench-omniglot check-pages check-lab linkcheck lock clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the environment (every other target does this by itself)

$(STAMP):
	@PYTHON="$(PYTHON)" bash tools/setup_env.sh "$(VENV)"
	@rm -f $(VENV)/.installed-* && touch $@

book: $(STAMP) ## Build the book; any warning is an error
	@rm -rf _build
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	@echo "Open the book: file://$(CURDIR)/_build/html/index.html"

NAME    := meta-learning-for-anomaly-detection
pdf: $(STAMP) ## Print the built pages as one PDF, linked from the home page (after: make book)
	@test -s _build/html/index.html || { echo "no pages: run 'make book' first"; exit 1; }
	npm --prefix $(BROWSER) ci --silent --no-audit --no-fund
	node $(BROWSER)/print_book.mjs --self-test
	node $(BROWSER)/print_book.mjs _build/html _build/html/$(NAME).pdf
	$(BIN)/python tools/offline_edition.py _build/html

zip: $(STAMP) ## Pack the built pages into one zip file, linked from the home page (after: make book)
	$(BIN)/python tools/offline_edition.py --zip _build/html

reader-notebooks: book ## Write the chapters as plain notebooks into a folder (OUT=reader)
	@mkdir -p $(OUT) && cp _build/html/reader/*.ipynb $(OUT)/
	@echo "Open them in any notebook program: $(OUT)/"

check-reader: $(STAMP) ## Run one of the built readers' notebooks against its outputs (after: make book)
	@test -s _build/html/reader/02_tasks_and_episodes.ipynb || { echo "no notebooks: run 'make book' first"; exit 1; }
	$(PYTEST) $(NBVAL) _build/html/reader/02_tasks_and_episodes.ipynb

test: $(STAMP) ## Run the unit tests, then every notebook against its stored outputs
	$(PYTEST) $(NBVAL) $(ARGS) metaad_tutorial tests $(NB)

test-unit: $(STAMP) ## Run the unit tests alone
	$(PYTEST) $(ARGS) metaad_tutorial tests

test-notebooks: $(STAMP) ## Run the notebooks alone (one: NB=notebooks/...)
	$(PYTEST) $(NBVAL) $(ARGS) $(NB)

# x86 only: other processors ignore these settings.
test-portable: export ATEN_CPU_CAPABILITY := default
test-portable: export MKL_CBWR := COMPATIBLE
test-portable: export ONEDNN_MAX_CPU_ISA := SSE41
test-portable: export OPENBLAS_CORETYPE := Nehalem
test-portable: export NPY_DISABLE_CPU_FEATURES := X86_V3 X86_V4 AVX512_ICL AVX512_SPR
test-portable: export METAAD_TIME_FACTOR := 2
test-portable: $(STAMP) ## Run the notebooks as an older processor would
	$(PYTEST) $(NBVAL) $(ARGS) $(NB)

notebooks: $(STAMP) ## Execute the notebooks and store clean outputs (one: NB=notebooks/...)
	$(BIN)/python tools/execute_notebooks.py $(NB)
	$(BIN)/python tools/prose_numbers.py

check-notebooks: $(STAMP) ## Execute the notebooks and report changed files, figures included
	$(BIN)/python tools/execute_notebooks.py --check $(NB)

# Jupyter refuses to run as root, the only user of many containers, unless told to.
LAB_ARGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)
LAB     := METAAD_PROGRESS=1 $(BIN)/jupyter lab --ServerApp.root_dir=.
lab: $(STAMP) ## Open JupyterLab on the readers' notebooks, with progress bars (folder: OUT=reader)
	@test -e $(OUT) || $(MAKE) reader-notebooks
	$(LAB) $(LAB_ARGS) --LabApp.app_settings_dir=$(CURDIR)/tools/lab --LabApp.default_url=/lab/tree/$(OUT)

lab-sources: $(STAMP) ## Open JupyterLab on the notebooks that the book is written in
	$(LAB) $(LAB_ARGS) --LabApp.default_url=/lab/tree/notebooks

serve: book ## Build the book and serve it at http://localhost:8000 (PORT=...)
	$(BIN)/python -m http.server --bind 127.0.0.1 -d _build/html $(PORT)

lint: $(STAMP) ## Check style and format, notebooks included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Put code into the project's format (then: make notebooks)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH)/.installed-$(PEERS) ## Time one meta-step against other libraries (a trial: ARGS=--quick)
	$(BENCH)/bin/python benchmarks/metastep.py $(ARGS)

bench-glyphs: $(STAMP) ## Train longer on the glyphs (about 20 minutes)
	$(BIN)/python benchmarks/glyphs.py $(ARGS)

bench-baselines: $(STAMP) ## Compare five baselines on eight tables (about a minute)
	$(BIN)/python benchmarks/baselines.py $(ARGS)

bench-aae: $(STAMP) ## Compare the autoencoder with its parts and baselines (about 10 minutes)
	$(BIN)/python benchmarks/aae.py $(ARGS)

bench-watching: $(STAMP) ## Time two watchers of drift, in readings (a minute)
	$(BIN)/python benchmarks/watching.py $(ARGS)

bench-evidence: $(BENCH)/.installed-$(PEERS) ## Compare all methods with all opponents (hours; a part: ARGS="fleet")
	$(BENCH)/bin/python benchmarks/evidence.py $(ARGS)

bench-omniglot: $(STAMP) ## The same on Omniglot (two hours; DATA=folder with its two zip files)
	$(BIN)/python benchmarks/omniglot.py --data "$(DATA)" $(ARGS)

$(BENCH)/.installed-$(PEERS): | $(STAMP)
	@bash benchmarks/setup_env.sh "$(VENV)" "$(BENCH)"
	@touch $@

check-pages: ## Check the built pages in headless Chromium (after: make book)
	@test -s _build/html/index.html || { echo "no pages: run 'make book' first"; exit 1; }
	npm --prefix $(BROWSER) ci --silent --no-audit --no-fund
	node $(BROWSER)/check_pages.mjs --self-test _build/html
	node $(BROWSER)/check_pages.mjs _build/html
	node $(BROWSER)/check_play.mjs --self-test _build/html
	node $(BROWSER)/check_play.mjs _build/html
	node $(BROWSER)/check_hover.mjs --self-test _build/html
	node $(BROWSER)/check_hover.mjs _build/html
	node $(BROWSER)/check_reading.mjs --self-test _build/html
	node $(BROWSER)/check_reading.mjs _build/html
	node $(BROWSER)/print_book.mjs --self-test

check-lab: $(STAMP) ## Check the notebooks in JupyterLab itself, in headless Chromium (after: make book)
	npm --prefix $(BROWSER) ci --silent --no-audit --no-fund
	JUPYTER=$(BIN)/jupyter node $(BROWSER)/check_lab.mjs --self-test _build/html
	JUPYTER=$(BIN)/jupyter node $(BROWSER)/check_lab.mjs _build/html

linkcheck: $(STAMP) ## Check the links to other sites (needs the network)
	$(BIN)/jupyter-book build . --builder linkcheck

lock: $(STAMP) ## Write requirements.lock from requirements.in
	bash tools/lock.sh $(BIN)

clean: ## Remove what was built
	rm -rf _build book/generated .pytest_cache .ruff_cache .coverage build *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environment as well
	rm -rf $(VENV) $(BENCH) $(BROWSER)/node_modules

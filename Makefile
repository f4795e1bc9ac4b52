# Every command installs what it needs into .venv first, from requirements.lock.
# It takes Python 3.11 to 3.13 and GNU make; nothing else.

ifeq ($(OS),Windows_NT)
$(error Windows is not supported: install WSL2 (wsl --install) and run make inside it)
endif

PROFILE ?= demo
DATA ?=
RUN ?= $(PROFILE)
WEIGHTS ?=
UNREADABLE ?=
DOUBTFUL ?=
TESTS ?=
OWNER ?=
export PROFILE DATA RUN WEIGHTS UNREADABLE DOUBTFUL TESTS OWNER

BIN := .venv/bin
INSTALLED := .venv/installed.lock
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help report score test platforms places lab kaggle notebooks bench lint lock clean again

help: ## Show this list.
	@echo 'make report   run the notebooks of a profile and write reports/<run>/index.html'
	@echo '              PROFILE=$(PROFILE)  DATA=folder of radiographs  RUN=name of the run folder'
	@echo '              WEIGHTS=none (random weights in place of those of ImageNet)'
	@echo 'make score    score or predict another folder with the models of a finished run'
	@echo '              RUN=name of the run folder  DATA=folder of radiographs'
	@echo '              UNREADABLE=exclude (leaves files out that cannot be read, and names them)'
	@echo '              DOUBTFUL=score (scores radiographs that a doubt would leave out)'
	@echo 'make test     run every test (TESTS=tests/data for some)'
	@echo 'make platforms  run notebooks as on Kaggle, with the versions there'
	@echo 'make places   the same for every place, Colab too (takes Python 3.12 or 3.13)'
	@echo 'make lab      open the notebooks in JupyterLab'
	@echo 'make kaggle   write what the command line of Kaggle uploads, OWNER=your account'
	@echo 'make notebooks  write the set-up cell and the badges into every notebook'
	@echo 'make bench    time image preparation and write reports/bench.json'
	@echo 'make lint     check style with ruff'
	@echo 'make lock     renew requirements.lock (takes uv)'
	@echo 'make clean    remove .venv and caches; reports/ stays'
	@echo 'PYTHON=python3.12 make ... picks the Python that .venv is made with.'
	@printf 'Profiles:'; for p in params/*/; do printf ' %s' "$$(basename "$$p")"; done; echo

report: $(INSTALLED)
	@exec $(BIN)/python -m nbhelpers.batch profile "$$PROFILE" --run "$$RUN" --data "$$DATA" \
	  --weights "$$WEIGHTS" --unreadable "$$UNREADABLE" --doubtful "$$DOUBTFUL"

score: $(INSTALLED)
	@exec $(BIN)/python -m nbhelpers.batch score --run "$$RUN" --data "$$DATA" \
	  --unreadable "$$UNREADABLE" --doubtful "$$DOUBTFUL"

test: $(INSTALLED)
	@exec $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile \
	  --no-loadscope-reorder $$TESTS

# An environment of its own: the versions of Kaggle's image are older than the lock's.
PLACED = -m pytest -q -s -p no:cacheprovider tests/test_platforms.py -m
platforms: .venv-kaggle/installed
	@exec .venv-kaggle/bin/python $(PLACED) 'platform and not thorough and not colab'

places: .venv-kaggle/installed .venv-colab/installed
	@.venv-kaggle/bin/python $(PLACED) 'platform and not colab'
	@exec .venv-colab/bin/python $(PLACED) colab

.venv-%/installed: requirements-%.txt
	@rm -rf $(@D) && $(or $(PYTHON),python3) -m venv $(@D)
	@$(@D)/bin/pip --disable-pip-version-check --quiet install -r $<
	@touch $@

# Jupyter asks root to say so.
lab: $(INSTALLED)
	@exec $(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  $$(test "$$(id -u)" -ne 0 || echo --allow-root)

kaggle: $(INSTALLED)
	@exec $(BIN)/python -m nbhelpers.batch.places --owner "$${OWNER:?write OWNER=your Kaggle account}"

notebooks: $(INSTALLED)
	@exec $(BIN)/python -m nbhelpers.batch.places

bench: $(INSTALLED)
	@exec $(BIN)/python tests/benchmarks/run.py reports/bench.json

lint: $(INSTALLED)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock:
	@UV_CUSTOM_COMPILE_COMMAND='make lock' uv pip compile --universal --python-version 3.11 \
	  --no-emit-index-url --no-annotate --quiet --extra batch --extra lab --extra test \
	  pyproject.toml -o requirements.lock

clean:
	@rm -rf .venv .venv-kaggle .venv-colab build nbhelpers.egg-info .pytest_cache .ruff_cache .hypothesis
	@find nbhelpers tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'Removed .venv and caches. reports/ is kept; delete a run folder there by hand.'

# The copy of the lock inside .venv is written last: while it is missing, .venv is made anew, and
# while it equals the lock there is nothing to install. A named Python is always compared.
$(INSTALLED): requirements.lock pyproject.toml $(if $(PYTHON),again)
	@PYTHON='$(PYTHON)' sh .ci/install

again:

# Two commands do everything: `make demo` shows the project at work, `make test` tests it.
# Both set up a virtual environment first. Variables to override:
#   PYTHON  the Python to make it with
#   TORCH   what to install as torch, e.g. TORCH="torch --index-url ..." for another build
#   MNIST   a folder with MNIST's IDX files (or set RNNZOO_MNIST_DIR)
#   DEMO    where the demo's zoos go
#   JOBS    how many processes run the fast tests side by side
#   COVERAGE  --cov measures what the fast tests reach; the default where Python does it at little cost
#   LOWEST_TESTS  what `make test-lowest` runs with the lowest versions that pyproject.toml allows

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
DEMO ?= demo
JOBS ?= 2
LOWEST := .venv-lowest
LOWEST_TESTS ?= tests
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Before Python 3.12 coverage makes the tests take a third longer; from then on the interpreter itself helps.
ifeq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 12))'),True)
COVERAGE ?= --cov
export COVERAGE_CORE ?= sysmon
endif
MNIST ?= $(RNNZOO_MNIST_DIR)
ifneq ($(MNIST),)
export RNNZOO_MNIST_DIR := $(abspath $(MNIST))
endif

define OPEN_ZOO
import sys
from rnnzoo import Zoo, load_zoo
zoo = Zoo(sys.argv[1])
print(zoo)
rows = load_zoo(sys.argv[1], split="train", streaming=True, filters=[("step", ">", 0)])
row = next(iter(rows))
print(row["checkpoint_id"], {name: tuple(row[name].shape) for name in ("lstm.weight_hh_l0", "head.weight")})
print(zoo.model(row["checkpoint_id"]))
endef
export OPEN_ZOO

# Where type checkers find the package: an installed `rnnzoo` is put together from several folders.
.typing:
	mkdir -p $@/rnnzoo
	ln -s ../../rnnzoo/__init__.py ../../rnnzoo/py.typed ../../zoo_builder ../../loaders ../../dataset_cards $@/rnnzoo

.PHONY: demo docs lint test test-fast test-slow test-lowest test-cuda test-qemu clean

$(INSTALLED): pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq $(TORCH)
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	@zoos=$$($(BIN)/zoo-builder available --one-each) || exit 1; \
	echo "the zoos that are built:" $$zoos; \
	set -e; \
	for zoo in $$zoos; do \
		echo; echo "== $$zoo: build, verify, look"; \
		$(BIN)/zoo-builder build $$zoo --preset smoke --out $(DEMO)/$$zoo; \
		$(BIN)/zoo-builder verify $(DEMO)/$$zoo; \
		$(BIN)/zoo-builder info $(DEMO)/$$zoo; \
		echo; echo "== $$zoo: opened as a datasets object"; \
		$(BIN)/python -c "$$OPEN_ZOO" $(DEMO)/$$zoo; \
		echo; echo "== $$zoo: what the step, and statistics of the weights, tell of unseen tasks"; \
		for encoder in step_only invariant_statistics; do \
			$(BIN)/zoo-bench run --zoo $(DEMO)/$$zoo --encoder $$encoder --seeds 1 --out $(DEMO)/results; \
		done; \
	done; \
	echo; echo "== the benchmark's report"; \
	$(BIN)/zoo-bench report $(DEMO)/results

test: lint test-fast

lint: $(INSTALLED) .typing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow and not cuda and not qemu" --numprocesses $(JOBS) --dist loadgroup $(COVERAGE)

test-slow: $(INSTALLED) .typing
	$(BIN)/python -m pytest -m "slow and not cuda and not qemu"

# In an environment of its own, with the lowest versions that pyproject.toml allows.
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest_versions.py > $(LOWEST)/constraints.txt
	PIP_CONSTRAINT=$(LOWEST)/constraints.txt $(LOWEST)/bin/python -m pip install -qq \
		--editable . pytest pytest-timeout hypothesis
	$(LOWEST)/bin/python -m pytest -m "not slow and not cuda and not qemu" $(LOWEST_TESTS)

test-cuda: $(INSTALLED)
	$(BIN)/python -m pytest -m cuda

# Skips what needs a compiler or an emulator that is not installed, and says which.
test-qemu: $(INSTALLED)
	$(BIN)/python -m pytest -m qemu -rs

# The documentation site, in site/.
docs: $(INSTALLED) .typing
	$(BIN)/python -m pip install -qq --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(LOWEST) $(DEMO) .typing build site *.egg-info

# Everything a person or CI does here. `make` alone says what there is.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out
# Further arguments: `make test ARGS="-m 'not slow' tests/cli"`
ARGS   ?=

PIP    := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt

.PHONY: help run app test bench lint format wheel clean
.DEFAULT_GOAL := help

help:
	@echo "make run     set up and make the example images of the README in $(OUT)/"
	@echo "make app     set up and open the web canvas at http://127.0.0.1:7860/"
	@echo "make test    set up and run the tests (ARGS=... goes to pytest)"
	@echo "make bench   set up and measure every figure on this machine (ARGS=--quick: does it run)"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff sort imports and mend what it can"
	@echo "make wheel   build the wheel in dist/"
	@echo "make clean   remove what the above made, but for $(OUT)/"

# One stamp a kind of install: it is done once, and again when what it depends on changes.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "earthgen needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e '.[dev,evaluate,train]'
	@touch $@ $(VENV)/.base

run: $(VENV)/.base
	$(VENV)/bin/earthgen generate \
		"a river through farmland" "a dense residential area" "a forest" \
		--gsd 10 --gsd 30 --lat 45.4 --lon 9.2 --cloud-cover 0 --seed 7 -o $(OUT)

$(VENV)/.app: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e '.[app]'
	@touch $@ $(VENV)/.base

app: $(VENV)/.app
	$(VENV)/bin/earthgen app $(ARGS)

# A process a core, each on one thread: the tests' networks are too small for several.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

$(VENV)/.bench: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e '.[bench,train,verify]'
	@touch $@ $(VENV)/.base

bench: $(VENV)/.bench
	$(VENV)/bin/earthgen bench -o $(OUT)/bench $(ARGS)

# mypy sees the four rooms under the names they are installed by.
TYPED := build/typed/earthgen
PARTS := $(wildcard earthgen/*.py) earthgen/py.typed $(patsubst %/__init__.py,%,$(wildcard earthgen/*/__init__.py)) \
         app pipelines training
lint: $(VENV)/.dev
	$(VENV)/bin/python -m ruff check .
	@rm -rf $(TYPED) && mkdir -p $(TYPED)
	@for part in $(PARTS); do ln -s "$(CURDIR)/$$part" $(TYPED)/; done
	cd build/typed && "$(abspath $(VENV))/bin/python" -m mypy --config-file "$(CURDIR)/pyproject.toml" -p earthgen

format: $(VENV)/.dev
	$(VENV)/bin/python -m ruff check --fix .

wheel: $(VENV)/.dev
	@rm -rf build/lib build/bdist.*  # setuptools would pack what a former build left there
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

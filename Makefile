# make demo   installs leadline and shows the whole story on the built-in example
# make test   installs it with the test tools and runs linter, types, the house test and all quick tests
# make bench  runs the measurements of bench/;   make clean  removes caches
# Both environments live in $(VENV): `make test VENV=/some/dir PYTHON=python3.12` puts them elsewhere.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test bench clean

demo: $(VENV)/.demo
	$(BIN)/leadline demo

# One thread a worker: two processes of two threads each on two cores can stall each other more than tenfold.
test bench: export OMP_WAIT_POLICY = PASSIVE
test: export OMP_NUM_THREADS = 1
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not long" --numprocesses auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/.test
	set -e; for script in bench/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench -name __pycache__ -type d -exec rm -rf {} +

# Stamps, so that nothing is installed twice; a change of the dependencies makes them old.
$(VENV)/.demo: extras = demo
$(VENV)/.test: extras = demo,test
$(VENV)/.demo $(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(extras)]'
	$(if $(findstring test,$(extras)),$(BIN)/pip install --quiet --no-deps -c constraints.txt pytorch-ood)  # without its torchvision
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("leadline needs Python 3.11 or newer: make test PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

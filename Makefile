# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# One thread per process: two busy processes with two OpenMP threads each run several times slower.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: run test soak check lint types imports docs bench clean

run: .venv/installed
	$(BIN)/atomsim run workflows/li2ruo3-delithiation.toml

test: .venv/installed
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations=60 # on two cores: one of the three mostly waits for Slurm

# A thousand random kills: some ten minutes of one core; the last figures are in benchmarks/RESULTS.md.
soak: .venv/installed
	$(BIN)/python -m pytest -m soak -s

check: lint types imports docs test

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/words.py

types: .venv/installed
	$(BIN)/mypy

imports: .venv/installed
	$(BIN)/lint-imports

# The documentation, to site/index.html: without network; any warning ends it. DOCS_EXECUTE=false leaves the notebook
# as it is, which saves half a minute.
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	# torch first and pinned, so that nothing else pulls in a build for another device; what is used is compiled on import
	$(BIN)/pip install -q --no-compile -c constraints.txt torch
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[dev,docs]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build site

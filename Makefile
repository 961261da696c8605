# Two commands on a fresh machine with Python >= 3.11, pip and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Also isolated builds obey the constraints, so no resolver can pull in another torch.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(BIN)/python -m pip install --quiet

.PHONY: demo test test-slow fuzz kills lint bench results schema clean

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-%: $(VENV)/.made pyproject.toml constraints.txt
	$(INSTALL) --editable ".[$*]"
	@touch $@

demo: $(VENV)/.installed-all  ## the main job on a synthetic cohort
	$(BIN)/scan2gene demo

# One thread per worker: two workers on two cores would else fight for them.
test: $(VENV)/.installed-test  ## the whole suite
	OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.installed-test  ## large cases that the suite leaves out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2

fuzz: $(VENV)/.installed-test  ## 10,000 spoilt scans; the suite runs 300
	SCAN2GENE_FUZZ=10000 $(BIN)/python -m pytest -n 2 tests/integration/test_fuzz.py

kills: $(VENV)/.installed-test  ## 50 kills of a study in training; the suite strikes 8 times
	OMP_NUM_THREADS=1 SCAN2GENE_KILLS=50 $(BIN)/python -m pytest -s tests/integration/test_kills.py

lint: $(VENV)/.installed-lint  ## style, types, one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## speed beside the named peers; writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/preprocess.py

results: $(VENV)/.installed-all  ## the runs behind docs/results/, real and synthetic
	$(BIN)/python studies/results.py

schema: $(VENV)/.installed-all  ## docs/study.schema.json, for editors
	$(BIN)/scan2gene schema > docs/study.schema.json

clean:
	rm -rf $(VENV) runs

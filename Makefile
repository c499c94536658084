PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

FUZZ_SEEDS ?= 50

.PHONY: demo test fuzz check format schema clean

# The environment with the package and its development tools, rebuilt when a dependency changes.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A synthetic data set, and an experiment on it from ingest to report.
demo: .venv/ready
	$(BIN)/voxray phantom luna16 $(DEMO)/phantom --scans 24 --seed 0 --matrix 256
	$(BIN)/voxray run configs/experiments/demo.toml

test: .venv/ready
	PYTHONUTF8=1 $(BIN)/pytest

# As in the tests, with more malformed inputs.
fuzz: .venv/ready
	VOXRAY_FUZZ_SEEDS=$(FUZZ_SEEDS) PYTHONUTF8=1 $(BIN)/pytest tests/fuzz

# Every fault at every file of every stage, and nodes that come and go, which takes half an hour; `make test` takes a
# sample.
faults: .venv/ready
	VOXRAY_FAULTS=all PYTHONUTF8=1 $(BIN)/pytest tests/faults tests/executors/test_nodes.py

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy platform/voxray
	$(BIN)/lint-imports

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The JSON Schemas that editors use to complete and check files in configs/.
schema: .venv/ready
	$(BIN)/voxray schema > configs/architecture.schema.json
	$(BIN)/voxray schema space > configs/space.schema.json
	$(BIN)/voxray schema experiment > configs/experiment.schema.json

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

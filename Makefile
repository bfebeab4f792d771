# make train: set up and train a battery policy on the embedded data.   make test: set up and run every check.
# make benchmark: do all policies still earn what they did? (benchmarks/guard.py; a few minutes)
#
# The environment is .venv. Torch comes first and alone, because a plain requirement on Linux would bring several
# gigabytes of CUDA packages. To choose its source, for example PyTorch's own CPU-only index:
#   make train TORCH_SOURCE="--index-url URL"     or     make train TORCH_SOURCE="--find-links FOLDER"
# Without it pip's own configured find-links are used, if there are any.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
TORCH_SOURCE ?= $(addprefix --find-links ,$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export OMP_NUM_THREADS := 1

.PHONY: train test lint benchmark clean

train: .venv/.ready
	$(BIN)/python train.py

test: .venv/.ready lint
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=10

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: .venv/.ready
	$(BIN)/python -m benchmarks.guard

.venv/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  "GridPilot needs Python 3.11 to 3.13, found %d.%d; set PYTHON=/path/to/python3.12" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) $(TORCH_SOURCE) torch==2.13.0
	$(UV) -r requirements.lock
	$(UV) --no-deps --compile-bytecode -e .  # all of the environment: the first start of a service is then as fast as the next
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

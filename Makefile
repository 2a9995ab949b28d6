# demo   watch the bundled judge think longer on close pairs, over REST
# test   run every test, those on the real SGLang too
# test-fast  the tests without Ray, SGLang and the network: two minutes
# check  lint, types, import layers
# lock   renew the pins of constraints.txt
# clean  remove the virtual environment and all caches
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-fast check lock clean
demo: $(VENV)/.installed
	@$(BIN)/closecall demo

test: $(VENV)/.sglang
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.installed
	$(BIN)/pytest -n 2 -m "not service and not sglang and not network and not slow"

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(VENV)/.installed
	$(BIN)/python .ci/lock.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The stamp is written last: an install that was cut off is done again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("closecall needs Python 3.11 or newer; call make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "Installing closecall with PyTorch and Ray into $(VENV): a few minutes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "Installed."

# SGLang without the CUDA packages it asks for; where it cannot be had, its tests say so and skip.
$(VENV)/.sglang: serving/testing/sglang_cpu/requirements.txt $(VENV)/.installed
	@echo "Installing SGLang for its tests into $(VENV): two minutes the first time ..."
	@{ $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt \
	  -r serving/testing/sglang_cpu/requirements.txt \
	  && $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps sglang==0.5.23; } \
	  && touch $@ && echo "Installed." \
	  || echo "SGLang could not be installed here; its tests are skipped."

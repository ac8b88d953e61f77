# Two commands: `make demo` shows what Danlu does, `make test` proves that it does it. Both set up `.venv` by themselves.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test lint clean

demo: $(READY)
	$(VENV)/bin/danlu quickstart

test: $(READY)
	$(VENV)/bin/python -m ruff check src tests benchmarks examples
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

lint: $(READY)
	$(VENV)/bin/python -m ruff check --fix src tests benchmarks examples

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Danlu needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -e '.[test]'
	touch $(READY)

clean:
	rm -rf $(VENV) build dist src/*.egg-info

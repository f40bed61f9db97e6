# Two commands: `make run` opens the page, on the embedded model; `make test` runs every check, types beside tests.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check

# What builds, trains and measures: a lane of its own, for two cores.
BUILDS = $(wildcard tests/test_backends*.py tests/test_bench*.py tests/test_training*.py) \
	tests/test_memory.py tests/test_outline.py

.PHONY: setup run test types builds tests pages

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: setup
	.venv/bin/millstream serve --open

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(MAKE) --jobs 2 --output-sync builds tests pages types

types:
	.venv/bin/mypy

# Lanes share the cores, and a thread that waits for another in a loop takes one: ten times as long for some.
builds tests pages: export OMP_WAIT_POLICY = PASSIVE

builds:
	.venv/bin/python -m pytest $(BUILDS)

tests:
	.venv/bin/python -m pytest --ignore-glob='tests/test_page*' $(BUILDS:%=--ignore=%)

# The page's own, which wait for a browser most of their time: beside the others.
pages:
	.venv/bin/python -m pytest tests/test_page*.py

# Two commands: `make run` does the main job on the embedded model, `make test` runs every check.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check

.PHONY: setup run test

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: setup
	mkdir -p out
	.venv/bin/millstream convert demo out/demo.mp4 --prompt "stained glass"

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest

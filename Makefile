# Two commands do everything on a fresh Debian machine, as root:
#   make demo    set up, evaluate the example flake with real Nix, show the plan, write the child pipeline
#   make test    set up, run all tests (the lab too, where the machine allows it)
.PHONY: demo test lint docs setup
.DEFAULT_GOAL := demo

setup:
	@ci/setup-machine

demo: setup
	@ci/demo

test: setup
	@ci/setup-lab
	@ci/test

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

# Renew the generated pages of docs/reference, and the file that is made of a template.
docs: setup
	@.venv/bin/python -m pipelinegen.reference docs/reference ci/pipelinegen.gitlab-ci.yml

# Commands of this repository; `make help` lists them. Everything they make lies in .venv/, .lab/ and the user's cache.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory

# Empty means both systems, or all scenarios.
SYSTEM ?=
SCENARIO ?=
HOST ?=

PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON := $(CURDIR)/.venv/bin/python
export PATH
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.venv/cache/hypothesis
# Ansible's own files, which would otherwise go to the home directory.
export ANSIBLE_HOME := $(CURDIR)/.venv/cache/ansible
unexport ANSIBLE_CONFIG ANSIBLE_COLLECTIONS_PATH

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: venv
venv: ## Make or renew .venv with the pinned tools and collections
	@sh tools/bootstrap.sh

.PHONY: lab
lab: venv ## Boot the lab's hosts, run the playbooks, print the verdict (SYSTEM=spark|onyx for one)
	@exec "$(PYTHON)" -m lab lab $(if $(SYSTEM),--system $(SYSTEM))

.PHONY: lab-clean
lab-clean: venv ## Remove exactly what the lab made
	@for state in .lab/molecule-*/; do
	    [ -d "$$state" ] && BAREMETAL_GPU_LAB_DIR="$$PWD/$${state%/}" "$(PYTHON)" -m lab clean
	done
	"$(PYTHON)" -m lab clean
	rm -rf .lab/ansible .lab/ephemeral
	[ ! -d .lab ] || rmdir --ignore-fail-on-non-empty .lab

.PHONY: lab-check
lab-check: venv ## Predict what the playbooks would change on the lab's hosts (SYSTEM=spark|onyx for one)
	@exec "$(PYTHON)" -m lab lab --check $(if $(SYSTEM),--system $(SYSTEM))

.PHONY: lab-shell
lab-shell: venv ## Open a root shell on a lab host (HOST=spark-01)
	@[ -n "$(HOST)" ] || { echo "usage: make lab-shell HOST=spark-01" >&2; exit 2; }
	exec "$(PYTHON)" -m lab shell "$(HOST)"

.PHONY: test
test: venv ## Everything: lint, unit tests, and the molecule scenarios on lab hosts
	@$(MAKE) lint
	exec "$(PYTHON)" -m pytest tests

.PHONY: test-unit
test-unit: venv ## Unit tests and gates only (under 2 minutes)
	@exec "$(PYTHON)" -m pytest -m "not lab" tests

.PHONY: test-lab
test-lab: venv ## Molecule scenarios on lab hosts (SCENARIO=spark|onyx for one)
	@exec "$(PYTHON)" -m pytest tests/lab $(if $(SCENARIO),-k "$(SCENARIO)")

.PHONY: test-shared
test-shared: venv ## Tests against reference captures kept beside the checkout, where they are present
	@exec "$(PYTHON)" -m pytest tests/shared

.PHONY: lint
lint: venv ## ansible-lint, yamllint, ruff, mypy, shellcheck, codespell
	@sh tools/lint.sh

.PHONY: bench
bench: venv ## Timings of the last lab run
	@exec "$(PYTHON)" tools/bench.py

.PHONY: docs
docs: venv ## Write the generated reference pages below docs/reference
	@exec "$(PYTHON)" tools/make_docs.py

.PHONY: requirements
requirements: ## Resolve requirements.in anew (needs the package index), then renew .venv
	@sh tools/lock_requirements.sh
	$(MAKE) venv

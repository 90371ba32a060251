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
# For lab-shell and lab-fault.
CMD ?=
FAULT ?=
UNDO ?=
ARGS ?=
export CMD
ASK ?=
BENCH ?=
PART ?=
KEEP ?=
DAYS ?=
UNPINNED ?=
BASE ?=
# How many processes share the tests.
JOBS ?= 2

SIDE_BY_SIDE = --numprocesses=$(JOBS) --dist=loadgroup --no-loadscope-reorder

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
	@for state in .lab/*/; do
	    [ -e "$$state/store" ] && BAREMETAL_GPU_LAB_DIR="$$PWD/$${state%/}" "$(PYTHON)" -m lab clean
	done
	"$(PYTHON)" -m lab clean
	rm -rf .lab/ansible .lab/ephemeral
	[ ! -d .lab ] || rmdir --ignore-fail-on-non-empty .lab

.PHONY: lab-check
lab-check: venv ## Predict what the playbooks would change on the lab's hosts (SYSTEM=spark|onyx for one)
	@exec "$(PYTHON)" -m lab lab --check $(if $(SYSTEM),--system $(SYSTEM))

.PHONY: lab-shell
lab-shell: venv ## Open a root shell on a lab host (HOST=spark-01), or run CMD="..." there
	@[ -n "$(HOST)" ] || { echo 'usage: make lab-shell HOST=spark-01 [CMD="uptime"]' >&2; exit 2; }
	exec "$(PYTHON)" -m lab shell "$(HOST)" $(if $(CMD),--command "$$CMD")

.PHONY: lab-fault
lab-fault: venv ## Break a lab host by name (HOST=spark-01 FAULT=mps_down), UNDO=1 takes it back
	@[ -n "$(HOST)" ] && [ -n "$(FAULT)" ] || { echo 'usage: make lab-fault HOST=spark-01 FAULT=mps_down [UNDO=1] [ARGS="KEY=VALUE"]' >&2; exit 2; }
	exec "$(PYTHON)" -m lab $(if $(UNDO),unfault,fault) "$(HOST)" "$(FAULT)" $(if $(UNDO),,$(ARGS))

.PHONY: lab-faults
lab-faults: venv ## List what can be broken, on which hosts, and what is now
	@exec "$(PYTHON)" -m lab faults

.PHONY: lab-timings
lab-timings: venv ## Show how long each step of the last lab run took
	@exec "$(PYTHON)" -m lab timings

.PHONY: cache-check
cache-check: venv ## Compare everything in the artefact cache with what was built
	@exec "$(PYTHON)" -m lab cache-check

.PHONY: cache-prune
cache-prune: venv ## Remove from the cache what was not used for DAYS=30 (UNPINNED=1: also what these versions do not need)
	@exec "$(PYTHON)" -m lab cache-prune $(if $(DAYS),--days $(DAYS)) $(if $(UNPINNED),--unpinned)

.PHONY: test
test: venv ## Everything: lint, unit tests, ansible-test sanity, other ansible-core releases, scenarios on lab hosts
	@$(MAKE) lint
	exec "$(PYTHON)" -m pytest $(SIDE_BY_SIDE) -rs tests

.PHONY: test-unit
test-unit: venv ## Unit tests and gates only (under 2 minutes)
	@exec "$(PYTHON)" -m pytest $(SIDE_BY_SIDE) -m "not (lab or lane or sanity)" tests

.PHONY: test-since
test-since: venv ## What the changes since a revision can affect (BASE=main), lint first
	@exec "$(PYTHON)" tools/affected.py "$(BASE)"

.PHONY: test-sanity
test-sanity: venv ## ansible-test sanity over what a release would hold
	@exec "$(PYTHON)" -m pytest tests/sanity

.PHONY: test-floor
test-floor: venv ## The tests that need Ansible, and the playbooks, on the oldest supported ansible-core
	@exec "$(PYTHON)" -m pytest "tests/lanes/test_lanes.py::test_lane[floor]"

.PHONY: test-current
test-current: venv ## The same on the newest ansible-core (skipped without Python 3.12 or newer)
	@exec "$(PYTHON)" -m pytest -rs "tests/lanes/test_lanes.py::test_lane[current]"

.PHONY: test-lanes
test-lanes: venv ## Both of them, the pinned ansible-core, and what runs on hosts on Python 3.9
	@exec "$(PYTHON)" -m pytest -rs tests/lanes

.PHONY: test-lab
test-lab: venv ## Everything that needs lab hosts (SCENARIO=spark|onyx for one molecule scenario)
	@exec "$(PYTHON)" -m pytest $(if $(SCENARIO),tests/lab/test_scenarios.py -k "$(SCENARIO)",tests/lab)

.PHONY: test-full
test-full: venv ## Every drift by itself, 20 killed runs, all subsets of hosts, every lock-out; writes docs/test-full.md (hours)
	@exec "$(PYTHON)" -m pytest --full tests/lab/test_check_mode.py tests/lab/test_robustness.py tests/lab/test_node_roll.py tests/lab/test_access.py tests/lab/test_spark_over_tailnet.py

.PHONY: test-shared
test-shared: venv ## Tests against reference captures kept beside the checkout, where they are present
	@exec "$(PYTHON)" -m pytest tests/shared

.PHONY: lint
lint: venv ## ansible-lint, yamllint, ruff, mypy, shellcheck, codespell
	@sh tools/lint.sh

.PHONY: test-faults
test-faults: venv ## Seed every known fault and print which code names it; healthy variants must give none
	@exec "$(PYTHON)" -m tools.seeded_faults

.PHONY: bench
bench: venv ## Measure on lab hosts of its own, about 25 minutes (BENCH=quick: about 7; PART=name: that part; KEEP=label keeps the result)
	@exec env BAREMETAL_GPU_LAB_DIR="$(CURDIR)/.lab/bench" "$(PYTHON)" -m tools.bench $(if $(BENCH),--mode $(BENCH)) $(if $(KEEP),--keep $(KEEP)) $(foreach part,$(PART),--only $(part))

.PHONY: compat
compat: venv ## Ask which versions may meet (ASK="gpu=gb10 driver=580 triton_vllm=25.11"), or measure the answers for 1,000 hosts
	@exec "$(PYTHON)" -m tools.compat $(ASK)

.PHONY: simulate-isolation
simulate-isolation: venv ## How well bad nodes are isolated, on simulated clusters
	@exec "$(PYTHON)" tools/simulate_isolation.py

.PHONY: docs
docs: venv ## Write the generated pages below docs/, and build the site into .lab/site
	@exec "$(PYTHON)" -m tools.make_docs

.PHONY: requirements
requirements: ## Resolve requirements.in anew (needs the package index), then renew .venv
	@sh tools/lock_requirements.sh
	$(MAKE) venv

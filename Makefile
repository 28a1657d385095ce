# Everything in one place. `make help` lists it; README.md tells the story.
#
# What is made stays outside the checkout, in $(KNS_TESTBED_HOME). The virtual environment belongs to this checkout and
# to these dependencies, so that neither a second checkout nor a pulled change meets the wrong one.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

KNS_TESTBED_HOME ?= $(HOME)/.cache/kns-testbed
export KNS_TESTBED_HOME

CHECKOUT_KEY := $(shell pwd -P | sha256sum | cut -c1-8)
DEPENDENCIES_KEY := $(shell cat pyproject.toml requirements-dev.lock | sha256sum | cut -c1-12)
VENV := $(KNS_TESTBED_HOME)/venvs/$(CHECKOUT_KEY)/$(DEPENDENCIES_KEY)
BIN := $(VENV)/bin
PYTHON_IN := $(BIN)/python

# Unit, contract and flow tests and the doctests: all that needs no cluster.
QUICK_TESTS := tests kns/model kns/objects kns/cli kns/catalog_files.py init-image/runner demo testbed bench conformance --doctest-modules
# One worker more than cores, because some tests wait. A file stays together, because some tests count what the others of
# their file did.
QUICK_WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
QUICK = $(PYTHON_IN) -m pytest -q -n $(QUICK_WORKERS) --dist loadfile --hypothesis-profile=$(HYPOTHESIS) --ignore=tests/e2e $(QUICK_TESTS)
HYPOTHESIS ?= quick
# The real helm, gotty and chart, if the testbed has made them: the tests that need them skip otherwise.
REAL_TOOLS = KNS_HELM="$$(ls $(KNS_TESTBED_HOME)/bin/helm 2>/dev/null || true)" \
	KNS_KUBECTL="$$(ls $(KNS_TESTBED_HOME)/bin/kubectl 2>/dev/null || true)" \
	KNS_KUBE_APISERVER="$$(ls $(KNS_TESTBED_HOME)/bin/kube-apiserver 2>/dev/null || true)" \
	KNS_ETCD="$$(ls $(KNS_TESTBED_HOME)/bin/etcd 2>/dev/null || true)" \
	KNS_KINE="$$(ls $(KNS_TESTBED_HOME)/bin/kine 2>/dev/null || true)" \
	KNS_KUBE_CONTROLLER_MANAGER="$$(ls $(KNS_TESTBED_HOME)/bin/kube-controller-manager 2>/dev/null || true)" \
	KNS_GOTTY="$$(ls $(KNS_TESTBED_HOME)/bin/gotty 2>/dev/null || true)" \
	KNS_TRAEFIK="$$(ls $(KNS_TESTBED_HOME)/bin/traefik 2>/dev/null || true)" \
	KNS_GATEWAY_CRDS="$$(ls -d "$$(go env GOMODCACHE 2>/dev/null)"/sigs.k8s.io/gateway-api@*/config/crd/standard 2>/dev/null | tail -n 1)" \
	KNS_AXE="$$(ls $(AXE) 2>/dev/null || true)" \
	KNS_VCLUSTER_CHART="$$(ls -t $(KNS_TESTBED_HOME)/images/chart-*.tgz 2>/dev/null | sed q)"
# The end-to-end tests mostly wait, so there are more workers than cores. A test or a group of tests that needs the
# cluster alone gets it: docs/testing.md.
E2E_WORKERS ?= 4
E2E = $(PYTHON_IN) -m pytest tests/e2e -n $(E2E_WORKERS) --dist loadgroup --no-loadscope-reorder --durations 25
ARGS ?=

.PHONY: help demo up down env test test-deep e2e faults verify static quick hooks validate docs dev images lock fmt status \
	nested bench bench-poll bench-start bench-claims bench-wake bench-pages bench-posit bench-scale conformance \
	soak loopback browser keycloak

help: ## show this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | sed 's/\$$\$$/$$/' | expand -t 18
	@echo "With KUBECONFIG set, demo, up, env, dev, nested and status use that cluster: see '$(PYTHON_IN) -m demo --help'."

demo: $(VENV)/ready ## bring everything up, run a job from submit to nothing left (ARGS="--app slow --keep")
	@$(PYTHON_IN) -m demo run $(ARGS)

up: $(VENV)/ready ## bring up the cluster with kns on it; safe to repeat
	@$(PYTHON_IN) -m demo up

down: ## take the testbed away; the cache stays
	@python3 -m testbed down

env: $(VENV)/ready ## print addresses and accounts as shell assignments: eval "$$(make -s env)"
	@$(PYTHON_IN) -m demo env

status: $(VENV)/ready ## show the testbed's parts, kns and its jobs
	@[ -n "$${KUBECONFIG:-}" ] || python3 -m testbed status || true
	@$(PYTHON_IN) -m demo status

nested: $(VENV)/ready ## run kubectl in a job's own cluster: make nested N=7 ARGS="get pods -A"
	@[ -n "$(N)" ] || { echo 'in which job? make nested N=7 ARGS="get pods -A"' >&2; exit 2; }
	@$(PYTHON_IN) -m demo nested "$(N)" $(ARGS)

verify: static quick ## the quick gate: the static checks and all tests that need no cluster

static: $(VENV)/ready ## the static part of the gate: format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

hooks: $(VENV)/ready ## run `make static` before every commit (again after a change of dependencies)
	@$(BIN)/pre-commit install

quick: $(VENV)/ready ## the tests of the gate: all that need no cluster (ARGS="-k quantity")
	@$(REAL_TOOLS) $(QUICK) $(ARGS)

# The last end-to-end test is that of `make down`, so the testbed is gone afterwards; a cluster of yours stays.
test: export KNS_SIMULATION_HISTORIES ?= 300
test: export KNS_SCHEMATHESIS_CASES ?= 500
test: browser verify up keycloak ## everything but the long tests; pytest's summary comes last (takes the testbed down at the end)
	@[ -n "$${KUBECONFIG:-}" ] || export KNS_E2E_DOWN=1; \
	eval "$$($(PYTHON_IN) -m demo env)"; export KNS_E2E_REQUIRED=1; \
	exec $(E2E) -m "not deep" $(ARGS)

# The tests of `make test` as well, so that one run shows everything: docs/testing.md has the figures of the last one.
test-deep: export KNS_SIMULATION_HISTORIES = 10000
test-deep: export KNS_SCHEMATHESIS_CASES = 10000
test-deep: export KNS_CACHED_RECORDS = 10000
test-deep: HYPOTHESIS = deep
test-deep: browser verify up loopback soak keycloak ## everything, exhaustively, with every fault and a soak of 30 jobs: some hours
	@eval "$$($(PYTHON_IN) -m demo env)"; export KNS_E2E_REQUIRED=1; \
	exec $(E2E) $(ARGS)

e2e: $(VENV)/ready ## the end-to-end tests of `make test` alone (after `make up`; ARGS="-k shell")
	@eval "$$($(PYTHON_IN) -m demo env)"; export KNS_E2E_REQUIRED=1; \
	exec $(E2E) -m "not deep" $(ARGS)

# It takes a minute to start, and two more to be fetched, so it begins beside the first tests. Those that need it wait for
# it, and report its failure.
keycloak:
	@[ -n "$${KUBECONFIG:-}" ] || { python3 -m testbed keycloak up >$(KNS_TESTBED_HOME)/keycloak-up.log 2>&1 & }

# For the tests of the page and of the web shell. axe-core is only used by tests, and nothing of it is in the checkout.
AXE_VERSION := 4.14.1
AXE_DIGEST := 29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
AXE := $(KNS_TESTBED_HOME)/axe-$(AXE_VERSION)/axe.min.js
browser: ## install what the tests in a browser need: Debian's Chromium, and axe-core by npm
	@command -v chromium >/dev/null || { \
		echo "installing the Debian package chromium, for the tests in a browser" >&2; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install --yes --no-install-recommends chromium; } >&2; }
	@[ -f $(AXE) ] || ! command -v npm >/dev/null || { \
		fetched="$$(mktemp -d)"; trap 'rm -rf "$$fetched"' EXIT; \
		npm install --prefix "$$fetched" --ignore-scripts --no-audit --no-fund --no-save axe-core@$(AXE_VERSION) >&2; \
		echo "$(AXE_DIGEST)  $$fetched/node_modules/axe-core/axe.min.js" | sha256sum --check --quiet >&2; \
		mkdir -p $(dir $(AXE)); mv "$$fetched/node_modules/axe-core/axe.min.js" $(AXE); }
	@[ -f $(AXE) ] || echo "npm is missing, so the page's accessibility is not tested: install npm, or set KNS_AXE" >&2

faults: $(VENV)/ready ## break the scheduler and the cluster under jobs: that part of `make test-deep` (after `make up`)
	@eval "$$($(PYTHON_IN) -m demo env)"; export KNS_E2E_REQUIRED=1; \
	exec $(PYTHON_IN) -m pytest tests/e2e/test_faults_*.py tests/e2e/test_restart.py $(ARGS)

# How often each fault is tried, at other moments each time. One round takes about 20 minutes.
loopback: export KNS_LOOPBACK_ROUNDS ?= 1
loopback: $(VENV)/ready ## let processes hang and networks fail under two real replicas, without a cluster (after `make up`)
	@$(REAL_TOOLS) $(PYTHON_IN) -m pytest tests/loopback $(ARGS)

images: $(VENV)/ready ## build our images and push them to the testbed's registry
	@$(PYTHON_IN) -m demo images

validate: $(VENV)/ready ## check an AppDef of yours: make validate FILE=path/to/appdef.json
	@[ -n "$(FILE)" ] || { echo "which AppDef? make validate FILE=path/to/appdef.json" >&2; exit 2; }
	@$(PYTHON_IN) -m kns validate "$(FILE)"

bench: $(VENV)/ready ## measure how long submit takes to answer (after `make up`; ARGS="--jobs 200 --rate 10")
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.submit $(ARGS)

bench-poll: $(VENV)/ready ## measure whether 200 polling clients slow the reconciler (after `make up`; ARGS="--seconds 120")
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.poll $(ARGS)

bench-start: $(VENV)/ready ## measure starts and ends of clusters against the same by hand (after `make up`; ARGS="--rounds 3 --write")
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.start $(ARGS)

bench-claims: $(VENV)/ready ## measure how soon a claimed member of the warm pool is usable (after `KNS_POOL=any=1 make up`)
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.claims $(ARGS)

bench-wake: $(VENV)/ready ## measure how fast a job sleeps and wakes (after `KNS_VCLUSTER_STORAGE_CLASS=local-path make up`)
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.wake $(ARGS)

bench-pages: $(VENV)/ready ## measure a job's page and 500 open pages at 1000 live jobs; needs no cluster (ARGS="--seconds 120")
	@$(PYTHON_IN) -m bench.pages $(ARGS)

bench-posit: $(VENV)/ready ## measure the Posit plugin at 200 running jobs on a real API server (after `make up`; ARGS="--at-once 100 --write")
	@$(REAL_TOOLS) $(PYTHON_IN) -m bench.posit $(ARGS)

bench-scale: $(VENV)/ready ## measure what a job costs kns and the API server, at 100 and 1000 live jobs (ARGS="--levels 100,1000,5000")
	@$(REAL_TOOLS) $(PYTHON_IN) -m bench.scale $(ARGS)

# Kubernetes' own tests in a job: docs/conformance.md. Its programs and images are built only here.
conformance: $(VENV)/ready ## Kubernetes' conformance tests in a job, and their page (after `make up`; ARGS="--portion sig-auth")
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m conformance $(ARGS)

soak: $(VENV)/ready ## 30 jobs in a row, nothing left and flat memory (after `make up`; ARGS="--lives 5")
	@eval "$$($(PYTHON_IN) -m demo env)"; $(PYTHON_IN) -m bench.soak $(ARGS)

docs: $(VENV)/ready ## write the generated pages: configuration and proofs
	@$(PYTHON_IN) docs/build_configuration.py
	@$(PYTHON_IN) docs/build_proofs.py

dev: $(VENV)/ready ## run the scheduler from this checkout, outside the cluster
	@$(PYTHON_IN) -m demo dev

fmt: $(VENV)/ready ## format, and repair what ruff can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/ready ## pin the dependencies of pyproject.toml with hashes (ARGS=--upgrade takes the newest versions)
	@demo/lock.sh $(BIN)/uv $(ARGS)

# Nothing but stderr: `make env` is read by a shell.
$(VENV)/ready:
	@demo/venv.sh $(VENV)

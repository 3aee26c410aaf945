# Thin: each target calls a script or CMake. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
export ECOLINK_BUILD_DIR ?= build/release
# the preset is the build folder's name
PRESET := $(notdir $(patsubst %/,%,$(ECOLINK_BUILD_DIR)))
STACK := deploy/local/stack
C_FILES = $$(git ls-files '*.c' '*.h')

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' Makefile

## ---- the local stack ----
.PHONY: install up start replace stop status logs down clean demo
install: ## install what is missing from Debian's packages
	@deploy/local/install up

up: install build ## install, build, start everything on this machine, print how to use it; DRIVER=kubernetes: on two test clusters
	@ECOLINK_LOCAL_DRIVER=$(DRIVER) $(STACK) up

start: ## start one part: make start S=gateway (postgres, nats, registry, scheduler, billing, health, gateway)
	@$(STACK) start "$(S)"

replace: ## a new gateway takes over from the one that runs, without a lost connection
	@$(STACK) replace

stop: ## stop one part: make stop S=gateway
	@$(STACK) stop "$(S)"

status: ## what runs where
	@$(STACK) status

logs: ## last log lines, followed on a terminal: make logs [S=gateway]
	@$(STACK) logs $(S)

down: ## stop what `up` started, replicas too; keep the state
	@$(STACK) down

clean: ## down, and remove the state (.local)
	@$(STACK) clean

demo: install build ## a real language model: launch in two regions, chat, kill a replica, stop, ledger
	@deploy/demo/run

## ---- building and testing ----
.PHONY: build images test test-ci soak test-unit test-integration test-e2e test-faults test-surface test-tsan test-kube test-kube-images test-compose mutants format format-check lint bench bench-gateway bench-scheduler fuzz
build: ## build everything (ECOLINK_BUILD_DIR=build/release)
	@deploy/local/build $(PRESET)

images: ## container images of all parts (deploy/images; needs Docker)
	@deploy/images/build

test: ## install, build with sanitizers, run every layer with reduced counts (minutes)
	@tests/run test

test-ci: ## what CI runs besides: lint, mutants, fuzzers, ThreadSanitizer, faults and surface with full counts (an hour)
	@tests/run ci

soak: ## by hand, for a night: 3,000 fault schedules, 10 minutes of CPU for each fuzzer; figures go into the docs
	@tests/run soak

test-unit: ## unit tests alone
	@tests/run unit

test-integration: ## each service against a real PostgreSQL and nats-server
	@tests/run integration

test-e2e: ## through HTTP with the real clients
	@tests/run e2e

test-faults: ## the whole stack, broken on purpose (docs/faults.md)
	@tests/run faults

test-surface: ## the HTTP surface against docs/api/openapi.yaml
	@tests/run surface

test-tsan: ## what has threads, under ThreadSanitizer
	@tests/run tsan

mutants: ## sabotage line by line: each must turn its test red
	@tests/run mutants

test-kube: ## against two real Kubernetes control planes, with simulated GPU nodes and with real containers (tests/kube; root; builds them once)
	@tests/kube/run

test-kube-images: images ## the Helm chart with its images, as containers of a real kubelet (tests/kube; needs Docker besides)
	@ECOLINK_KUBE_REAL=1 tests/kube/run -k test_helm.py

test-compose: ## docker compose up, use it, take it down (tests/compose; needs Docker and its compose plugin)
	@tests/compose/run

format: ## clang-format all C files
	@deploy/local/install lint
	@clang-format -i $(C_FILES)

format-check: ## fail when a C file is not formatted
	@clang-format --dry-run -Werror $(C_FILES)

lint: ## clang-format, clang-tidy, shellcheck, rules of the tests
	@deploy/local/install lint
	@deploy/local/lint

bench: bench-gateway

bench-gateway: build ## the gateway against its peers: requests/s, latency, CPU, memory (docs/benchmarks.md; needs two quiet processors)
	@deploy/local/install bench
	@tests/bench/gateway/run

bench-scheduler: ## what the scheduler costs with 1,000 instances on two API servers (tests/bench/scheduler; root; builds the cluster once)
	@tests/bench/scheduler/run

fuzz: ## fuzz every target for FUZZ_S seconds of CPU (default 60) from its corpus
	@deploy/local/install fuzz
	@deploy/local/build fuzz
	@tests/fuzz/run

# fcnode. `make` alone shows what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX ?= /usr/local
DESTDIR ?=
# Where build puts the programs, and tests look for them.
BIN := bin
# A test or benchmark run with privileges: directly as root, else by sudo with this Go and these caches.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo env "PATH=$(PATH)" "HOME=$(HOME)" "GOCACHE=$(shell go env GOCACHE)" "GOMODCACHE=$(shell go env GOMODCACHE)")
# Tools are pinned in a module of their own, so that their dependencies are not fcnode's.
TOOL := go tool -modfile=tests/tools/go.mod
GOTESTSUM_FLAGS := --format $(if $(CI),pkgname-and-test-fails,pkgname) --format-hide-empty-pkg
# A module of its own: what the gateway stands on are not fcnode's dependencies.
GATEWAY := cmd/fcnode-gateway
# What the test runs of this checkout reported, in the words of go test -json.
RESULTS := $(BIN)/results
# Runs a suite of tests and judges it. Its tools are built beside the privileged tests: where BUILT=1 is said, there may be no Go.
SUITE := env BIN=$(BIN) RESULTS=$(RESULTS) GOTESTSUM_FLAGS="$(GOTESTSUM_FLAGS)" RUN="$(RUN)" tests/suite.sh

# The kernels of the rig by the Debian release that has them. Any part of the list can be chosen: KERNEL="6.1 6.12".
release_6.1 := bookworm
release_6.12 := trixie
release_7 := sid
release_sid := sid
KERNEL ?= 6.1 6.12 7

.PHONY: help
help: ## Show the targets
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  \033[1m%-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Build
.PHONY: deps deps-vm
deps: ## Install what building, testing and the demo need (apt; Debian 12 or 13)
	@packaging/deps.sh build demo criu

deps-vm: ## Install what the VM rig needs (QEMU 10, mmdebstrap)
	@packaging/deps.sh vm

.PHONY: build
build: ## Build bin/fcnode and its helpers
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/ $$(go list ./cmd/... | grep -v /fcnode-runner$$)
	@packaging/runner.sh $(BIN)/fcnode-runner '$(VERSION)'
	@packaging/monitor.sh $(BIN)/fcnode-monitor
	CGO_ENABLED=0 go build -C $(GATEWAY) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(abspath $(BIN))/fcnode-gateway .

.PHONY: generate generate-check
generate: ## Regenerate what is committed: BPF objects and bindings, schema, tables in docs/
	go generate ./...
	go run ./cmd/fcnode docs docs
	go run ./tests/kernels -write docs/kernels.md

generate-check: generate ## Regenerate, and fail when that changes anything
	@changed=$$(git status --porcelain -- bpf docs runtime); [ -z "$$changed" ] || { \
		echo "$$changed"; git --no-pager diff --stat -- bpf docs runtime; \
		echo "generated files differ from what is committed: run make generate and commit the result" >&2; exit 1; }

## Test
.PHONY: apps
apps: ## Make the root file systems of the real applications in tests (nginx, PHP, node, …; once)
	@tests/apps/build.sh >/dev/null

# BUILT=1 spares what test-root, test-vm and install need when it is known to be there: .ci/run runs them side by side, and
# Vagrant brings it from outside (FCNODE_BUILT=1).
BUILT :=
# THREADS=single is cheaper for an emulated machine that has but one processor to itself, because others run beside it.
THREADS := multi
.PHONY: test test-unit test-root test-vm test-binaries
test: deps deps-vm $(if $(BUILT),,build test-binaries) ## Run every test: unit, privileged here, privileged on Linux 6.12
	@tests/beside.sh '$(MAKE) --no-print-directory test-vm KERNEL=6.12 BUILT=1 THREADS=single' \
		$(MAKE) --no-print-directory -k test-unit test-root BUILT=1
	@$(if $(RUN),,$(BIN)/tests/skips -nowhere $(RESULTS)/root.json $(RESULTS)/trixie.json)

test-unit: ## Run the unit tests with the race detector
	@mkdir -p $(RESULTS)
	@CGO_ENABLED=0 go build -trimpath -o $(BIN)/tests/ ./tests/skips
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -modfile=tests/tools/go.mod -o $(BIN)/tests/ gotest.tools/gotestsum
	@$(SUITE) unit tests/unit.sh

test-root: $(if $(BUILT),,build test-binaries) ## Run the privileged tests on this kernel (root or sudo)
	@mkdir -p $(RESULTS)
	@$(SUDO) $(SUITE) root tests/root.sh $(BIN)/tests $(abspath $(BIN))

test-vm: $(if $(BUILT),,deps-vm build test-binaries) ## Run the privileged tests on Debian's kernels: KERNEL="6.1 6.12 7"
	@mkdir -p $(RESULTS)
	@for kernel in $(foreach k,$(KERNEL),$(or $(release_$(k)),$(error KERNEL=$(k) is not of the rig: 6.1, 6.12, 7))); do \
		$(SUITE) $$kernel $(BIN)/tests/vm -threads $(THREADS) -release $$kernel -binaries $(BIN)/tests -programs $(BIN) -apps "$$(tests/apps/build.sh -disk)"; \
	done

test-binaries:
	@tests/apps/build.sh >/dev/null || echo "without the real applications: the tests that need them will fail (make apps)" >&2
	@tests/binaries.sh $(BIN)/tests $(BIN)

.PHONY: box vagrant-validate
box: ## Make Vagrant boxes that need no network: KERNEL="6.1 6.12 7" (root or sudo); BUILT=1: that run what is built here
	@packaging/deps.sh libvirt
	@for release in $(foreach k,$(KERNEL),$(or $(release_$(k)),$(error KERNEL=$(k) is not of the rig: 6.1, 6.12, 7))); do BUILT=$(BUILT) packaging/box/build.sh $$release; done

vagrant-validate: ## Check the Vagrantfile, with public boxes and with those of make box
	@packaging/deps.sh vagrant
	@for box in public local; do \
		echo "FCNODE_BOX=$$box"; \
		FCNODE_BOX=$$box VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_HOME=$(abspath $(BIN))/vagrant.d vagrant validate; \
	done

.PHONY: fuzz-short
fuzz-short: ## Run each fuzz target for FUZZTIME (10s)
	@tests/fuzz.sh $(or $(FUZZTIME),10s)

.PHONY: lint
lint: ## Lint (golangci-lint, shell syntax)
	GOLANGCI_LINT_CACHE=$(abspath $(BIN))/lint-cache $(TOOL) golangci-lint run --allow-parallel-runners --build-tags seccomp ./...
	cd $(GATEWAY) && GOLANGCI_LINT_CACHE=$(abspath $(BIN))/lint-cache go tool -modfile=$(abspath tests/tools/go.mod) golangci-lint run \
		--allow-parallel-runners --config $(abspath .golangci.yml) ./...
	@for f in $$(git ls-files '*.sh' .ci/run); do bash -n $$f; done

.PHONY: bench
bench: build ## Measure, and rewrite the tables of docs/performance.md (root or sudo)
	@packaging/deps.sh bench
	$(SUDO) go run ./tests/bench -bin $(BIN) -write docs/performance.md

.PHONY: study
study: ## Replay fleets of sites through the rules for sleep, and rewrite docs/efficiency.md (TRACES=folder; SHORT=1: a minute; ONLY=cascades or season: that section)
	@go run ./tests/study $(if $(SHORT),-short,-write docs) $(if $(ONLY),-only $(ONLY)) -traces '$(or $(TRACES),../shared/traces)'

.PHONY: bench-vm
bench-vm: deps-vm build ## Measure what this machine lacks in a virtual one, and rewrite docs/performance-vm.md
	@packaging/deps.sh bench
	@mkdir -p $(BIN)/bench-vm
	@CGO_ENABLED=0 go build -trimpath -o $(BIN)/bench-vm/ ./tests/bench ./tests/bench/workers ./tests/vm ./tests/vm/guest
	@cp $(addprefix $(BIN)/,fcnode fcnode-shim fcnode-runner fcnode-monitor fcnode-demo-site) "$$(command -v runc)" $(BIN)/bench-vm/
	$(BIN)/bench-vm/vm -release trixie -binaries $(BIN)/bench-vm -programs $(BIN)/bench-vm -apps "$$(tests/apps/build.sh -disk)" \
		-bench $(or $(PARTS),tiers,apps,wake,looks) -runs $(or $(RUNS),5) -total 2h -silence 1h >$(BIN)/bench-vm/report
	@mv $(BIN)/bench-vm/report docs/performance-vm.md

.PHONY: bench-gateway
bench-gateway: ## Measure the gateway beside Caddy, nginx and the direct way; the wake; a flood
	cd $(GATEWAY) && FCNODE_APPS="$$($(abspath tests/apps/build.sh))" go test -vet=off -run '^$$' -bench . -benchtime 3s ./internal/front | grep -v '^{'

.PHONY: bench-wordpress
bench-wordpress: build ## Measure the first visit to the demo's WordPress from each tier, and rewrite docs/performance-wordpress.md (root or sudo)
	@CGO_ENABLED=0 go build -trimpath -o $(BIN)/tests/ ./tests/wordpress
	@apps=$$(tests/apps/build.sh); $(SUDO) $(BIN)/tests/wordpress -fcnode $(BIN)/fcnode -apps "$$apps" -rounds $(or $(RUNS),15) -write $(abspath docs)/performance-wordpress.md

## Try and install
.PHONY: demo demo-wordpress
demo: deps build ## A node with a demo site: watch it wake (root or sudo)
	@$(SUDO) $(BIN)/fcnode demo

demo-wordpress: deps build ## WordPress, its database and a registry: deploy it, wake it from each tier, renew it (root or sudo)
	@CGO_ENABLED=0 go build -trimpath -o $(BIN)/tests/ ./tests/wordpress
	@apps=$$(tests/apps/build.sh); $(SUDO) $(BIN)/tests/wordpress -fcnode $(BIN)/fcnode -apps "$$apps"

.PHONY: install uninstall
install: $(if $(BUILT),,build) ## Install below DESTDIR and PREFIX (/usr/local)
	@packaging/install.sh install '$(DESTDIR)' '$(PREFIX)' $(BIN)

uninstall: ## Remove what install put there; sites, their data and configuration stay
	@packaging/install.sh uninstall '$(DESTDIR)' '$(PREFIX)' $(BIN)

.PHONY: docs
docs: ## Regenerate the reference pages below docs/ (the commands, the kernels)
	go run ./cmd/fcnode docs docs
	go run ./tests/kernels -write docs/kernels.md

.PHONY: clean
clean: ## Remove what was built here
	rm -rf $(BIN) dist

# `make demo` shows Tungstene at work, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN     := $(CURDIR)/bin
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LISTEN  ?= 127.0.0.1:8080

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the programs into bin/
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: ## Run the whole pipeline against the simulator, with the page on http://$(LISTEN)
	@echo "building…"
	@$(MAKE) --no-print-directory build
	@$(BIN)/tungstene demo --listen $(LISTEN) --open $(DEMO)

.PHONY: test
test: ## Install what the tests need where that is possible, and run every test
	@scripts/test-deps
	$(GO) test -race -timeout 20m ./...
	$(GO) -C tools/ferretdb vet ./...

.PHONY: short
short: ## The quick tests, without servers of their own
	$(GO) test -short ./...

.PHONY: faults
faults: ## Cause every fault that a cluster meets, with real servers; FAULTS_SEED repeats a run
	@scripts/test-deps
	@mkdir -p $(BIN)
	FAULTS=full FAULTS_OUT=$(or $(FAULTS_OUT),$(BIN)/faults.txt) $(GO) test -count=1 -v -timeout 3h -parallel $(or $(FAULTS_PARALLEL),2) ./internal/faults | scripts/progress

.PHONY: soak
soak: ## Run the pipeline for HOURS (default 1) with a fault every minute: memory, handles and queues must stay flat
	@scripts/test-deps
	@mkdir -p $(BIN)
	SOAK_HOURS=$(or $(HOURS),1) SOAK_RATE=$(RATE) SOAK_OUT=$(or $(SOAK_OUT),$(BIN)/soak.csv) $(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./internal/faults | scripts/progress

.PHONY: bench
bench: ## Measure: encode, outbox, queues, stores, aggregator, the whole pipeline
	@scripts/test-deps
	@scripts/bench

.PHONY: fuzz
fuzz: ## Fuzz every decoder, FUZZ each (default 1m)
	@scripts/fuzz $(or $(FUZZ),1m)

$(BIN)/golangci-lint $(BIN)/gofumpt $(BIN)/govulncheck &: tools/lint/go.mod tools/lint/go.sum
	@mkdir -p $(BIN)
	$(GO) -C tools/lint build -o $(BIN)/ github.com/golangci/golangci-lint/v2/cmd/golangci-lint mvdan.cc/gofumpt golang.org/x/vuln/cmd/govulncheck
	@touch $(BIN)/golangci-lint $(BIN)/gofumpt $(BIN)/govulncheck

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/gofumpt $(BIN)/govulncheck ## Format, vet, lint, known vulnerabilities, scripts
	@test -z "$$($(BIN)/gofumpt -l cmd pkg internal tools)" || { $(BIN)/gofumpt -d cmd pkg internal tools; echo "run: make fmt"; exit 1; }
	$(GO) vet ./...
	$(BIN)/golangci-lint run ./...
	@scripts/lint-extra

.PHONY: fmt
fmt: $(BIN)/gofumpt ## Format the Go code
	$(BIN)/gofumpt -w cmd pkg internal tools

.PHONY: docs
docs: ## Write the generated pages of docs/ anew
	$(GO) run ./cmd/tungstene docs --out docs

.PHONY: image
image: ## Build the container image
	docker build --build-arg VERSION=$(VERSION) -t tungstene:$(VERSION) .

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BIN)

# `make help` lists what there is. Two targets are for everybody: demo and test.

SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
BIN := bin/lianke
export CGO_ENABLED ?= 0
# The tests share two cores with PostgreSQL.
TESTFLAGS ?= -timeout 20m
PACKAGES ?= ./...
# Suites whose result depends on the servers themselves: run again against separately started ones.
SERVER_PACKAGES ?= $(shell go list ./... | grep -E '/(internal/(pg|search|redis|jobs|events|lease|ledger|importer|ws)|member(/.*)?|segments|journeys|channels(/.*)?|commerce(/.*)?)$$')

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## install what is missing (as root), or say what to install
	@deploy/setup.sh

build: ## build bin/lianke
	@go build -o $(BIN) ./cmd/lianke

demo: setup build ## install what is missing, load the demo brand and serve it
	@$(BIN) demo

test: ## every test, on an embedded PostgreSQL and Redis of its own
	@deploy/setup.sh --with-node
	go run ./internal/embedded/stackrun go test $(TESTFLAGS) $(PACKAGES)

test-servers: ## the store, search, redis and chat suites on separately started PostgreSQL, Redis and Elasticsearch
	@deploy/setup.sh --with-servers --with-node
	deploy/test/servers.sh go test -count=1 $(TESTFLAGS) $(SERVER_PACKAGES)

bench: build ## every benchmark beside its baseline, on the embedded stack
	@set -e; for name in identity ingest journey-mass send ledger hot-sku checkout; do $(BIN) bench $$name --json; done

lint: ## gofmt and go vet
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "gofmt:"; echo "$$files"; exit 1; fi
	go vet ./...

gen: ## write the generated files (docs, OpenAPI, golden files) anew
	go run ./internal/embedded/stackrun go test -count=1 ./internal/config ./cmd/lianke -run 'Document|OpenAPI' -update

verify: gen ## fail when a generated file is not current
	git diff --exit-code

clean: ## remove what was built
	rm -rf bin

.PHONY: help setup build demo test test-servers bench lint gen verify clean

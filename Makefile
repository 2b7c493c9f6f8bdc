# lofn is built with Go alone. What else a target wants it says, and installs
# on Debian if it may. CONTRIBUTING.md and DEVELOPERS.md say when to use which.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Go keeps its caches below HOME, which some build machines do not set.
ifeq ($(HOME),)
export HOME := $(CURDIR)/build/home
endif

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.release=$(VERSION) -X main.commit=$(COMMIT)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

DIST := $(foreach target,linux-amd64 linux-arm64 darwin-amd64 darwin-arm64,lofn-$(target)) fwatchdog-linux-amd64 fwatchdog-linux-arm64

.PHONY: FORCE help build watchdogs demo test test-examples check fuzz lint bench bench-change bench-crashes bench-containers dist clean

help: ## say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: watchdogs ## bin/lofn and bin/fwatchdog; needs nothing but Go
	$(GOBUILD) -o bin/ ./cmd/...

# What goes into images has no version in it: an image whose content did not
# change keeps its digest when lofn is upgraded.
watchdogs: $(foreach arch,amd64 arm64,internal/build/fwatchdog/files/fwatchdog-linux-$(arch).gz)

internal/build/fwatchdog/files/fwatchdog-linux-%.gz: FORCE
	@mkdir -p build
	CGO_ENABLED=0 GOOS=linux GOARCH=$* go build -trimpath -buildvcs=false -ldflags '-s -w' -o build/fwatchdog-linux-$* ./cmd/fwatchdog
	@gzip -9 -n -c build/fwatchdog-linux-$* >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

demo: build ## start a platform, deploy the examples and call them
	@examples/demo.sh

test: ## everything that can be tested on this machine, set-up included
	.ci/setup go-race python3 node git buildah prometheus prometheus-alertmanager nats-server containerd cni iptables busybox-static systemd
	$(MAKE) --no-print-directory test-examples
	go vet ./...
	go test $$(.ci/setup --race-flag) -timeout 20m ./...

test-examples: ## the examples' own tests, each in its language
	cd examples/fastq-stats && go vet ./... && go test ./...
	@$(call with,python3,cd examples && python3 -B -m unittest discover -s pii-scan -t .)
	@$(call with,node,cd examples/tsv-profile && node --test)
	bash examples/checksums/test.sh

# with PROGRAM,COMMAND runs a command if there is the program that it needs.
with = if command -v $(1) >/dev/null; then echo '$(2)'; $(2); else echo 'SKIPPED: $(1) is not installed: $(2)'; fi

check: ## the quick loop: format, vet, the house rules, short tests
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	go test .
	go test -short ./...

FUZZTIME ?= 10m

fuzz: ## every fuzz target for FUZZTIME (10m), one after the other
	@set -e; for file in $$(grep -rl '^func Fuzz' --include='*_test.go' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$(dirname $$file) $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$(dirname $$file); \
		done; done

lint: ## golangci-lint with .golangci.yml
	@command -v golangci-lint >/dev/null || { echo "golangci-lint is not installed: https://golangci-lint.run/docs/welcome/install"; exit 1; }
	golangci-lint run

bench: build ## calls, latency, streams, overload, asynchronous calls, cold calls, deployments, memory, containers, as tables
	go run ./bench -lofn bin/lofn $(BENCH)

bench-change: build ## 450,000 calls while replicas come, go and are killed; fails if one of them does
	go run ./bench -lofn bin/lofn -only change $(BENCH)

bench-crashes: build ## 100,000 asynchronous calls while lofn, and a nats-server, is killed 20 times; fails if one is lost
	go run ./bench -lofn bin/lofn -only crashes $(BENCH)

bench-containers: build ## the part of bench that is about containers; needs root and containerd
	go run ./bench -lofn bin/lofn -only containers,containercold,containermany,containerchange $(BENCH)

dist: watchdogs $(DIST:%=dist/%) ## reproducible binaries in dist/ with their checksums
	cd dist && sha256sum $(DIST) | tee sha256sums

# The name is program-system-architecture.
dist/%: FORCE | watchdogs
	GOOS=$(word 2,$(subst -, ,$*)) GOARCH=$(word 3,$(subst -, ,$*)) $(GOBUILD) -o $@ ./cmd/$(word 1,$(subst -, ,$*))

clean: ## remove what was built
	rm -rf bin build dist internal/build/fwatchdog/files/*.gz

# Two commands matter: `make run` and `make test`. Both install what is missing.
SHELL   := /bin/bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
ARGS    ?=

ENGINES := postgresql postgresql-client mariadb-server mariadb-client
TESTING := $(ENGINES) sysbench prometheus python3-psycopg2 python3-pymysql gcc libc6-dev
SUITES  := $(ENGINES) postgresql-server-dev-15 dpkg-dev gcc libc6-dev bzip2
BENCH   := $(ENGINES) sysbench pgbouncer haproxy
FUZZTIME ?= 10s

# The decoders, trackers and login paths that take bytes from strangers.
FUZZ = $(shell grep -roE --include='*_test.go' 'func (Fuzz[A-Za-z0-9]+)' . | sed -E 's|^\./(.*)/[^/]*:func (.*)|\1:\2|' | sort)

.PHONY: run build test check lint e2e suites bench fuzz soak clean
.DEFAULT_GOAL := build

build:
	$(GO) build -ldflags "-X main.version=$(VERSION)" -o bin/serverlessproxy ./cmd/serverlessproxy

run:
	@scripts/need $(ENGINES)
	@$(MAKE) --no-print-directory build
	@exec bin/serverlessproxy quickstart $(ARGS)

test:
	@scripts/need $(TESTING)
	@$(MAKE) --no-print-directory build lint
	$(GO) tool gotestsum --format pkgname-and-test-fails --hide-summary=skipped -- -race -count=1 -timeout 20m ./...

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

check: lint
	@scripts/need gcc libc6-dev $(TESTING)
	$(GO) test -race -count=1 $$($(GO) list ./... | grep -v /e2e)
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5s

e2e: build
	@scripts/need $(TESTING)
	FULL=1 IDLE_CLIENTS=$${IDLE_CLIENTS:-2000} $(GO) tool gotestsum --format testname -- -count=1 -timeout 60m ./e2e/...

# Other people's tests, through the endpoint.
suites: build
	@scripts/need $(SUITES)
	e2e/suites/pg-regress off
	e2e/suites/pg-regress 0

bench: build
	@scripts/need $(BENCH)
	$(GO) run ./e2e/bench $(ARGS)

soak: build
	@scripts/need $(TESTING)
	SOAK=$${SOAK:-30m} $(GO) test ./e2e/ -run '^TestSoak$$' -count=1 -v -timeout 24h

fuzz:
	@set -e; for target in $(FUZZ); do \
		echo "fuzz $$target for $(FUZZTIME)"; \
		$(GO) test ./$${target%%:*} -run '^$$' -fuzz "^$${target##*:}$$" -fuzztime $(FUZZTIME); \
	done

clean:
	rm -rf bin

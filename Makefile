# Everything runs on a fresh machine with Go; what a target needs besides, it
# installs or names.
.PHONY: build demo test mutants e2e e2e-full chaos bench performance lint fuzz

export CGO_ENABLED ?= 0
BIN := $(CURDIR)/bin/evergrant

build: ## the static binary, as it is released
	go build -tags nethttpomithttp2 -trimpath -buildvcs=false -ldflags='-s -w' -o $(BIN) ./cmd/evergrant

demo: build ## the whole story on this machine in seconds: no account, no network
	$(BIN) demo

test: lint ## unit tests, the simulation, the scripts; with the race detector where there is a C compiler
	@if command -v $${CC:-cc} >/dev/null; then CGO_ENABLED=1 go test -race ./...; \
	else echo "no C compiler: the race detector is off"; go test ./...; fi

lint:
	@files=$$(gofmt -l $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')); \
	if [ -n "$$files" ]; then echo "not gofmt-ed: $$files"; exit 1; fi
	go vet ./...
	go vet -tags e2e ./e2e ./internal/store/git ./scripts
	go vet -tags mutants ./internal/mutants

mutants: ## takes one rule of the protocol after another out and expects a test to fail
	go test -tags mutants -count=1 ./internal/mutants

e2e: ## the real binary against real peers, which it installs (npm, Go modules); mounts small disks; then chaos, short
	bash e2e/run
	bash chaos/run -short

e2e-full: mutants ## with the slow ones: a real forge, each parser fuzzed for a minute, 1,500 seeds, chaos in its long form (two hours)
	EVERGRANT_E2E_FULL=1 bash e2e/run
	go test -count=1 -timeout 30m ./internal/sim -run TestSurvival -seeds 1500 -v
	$(MAKE) fuzz FUZZTIME=60s
	bash chaos/run

chaos: ## kills, signals, networks, disks and races, judged by the provider's ledger; writes docs/reliability.md
	bash chaos/run

bench: ## side by side in one run: this binary, Python, curl and jq, Node, bare Go
	bash bench/run

performance: ## the same, written to docs/performance.md; refuses a busy machine
	go run ./bench/report

FUZZTIME ?= 20s
fuzz: ## each parser of foreign bytes for FUZZTIME; a package that does not build ends it
	@set -e; packages=$$(go list ./...); for pkg in $$packages; do \
	  names=$$(go test -list '^Fuzz' $$pkg) || { echo "$$names"; exit 1; }; \
	  for f in $$(echo "$$names" | sed -n '/^Fuzz/p'); do \
	    echo "$$pkg $$f"; \
	    if said=$$(go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg 2>&1); then echo "$$said" | sed -n '$$p'; continue; fi; \
	    echo "$$said"; \
	    case $$said in \
	    *'Failing input'*) exit 1;; \
	    *'context deadline exceeded'*) echo "no input failed: go's fuzzer sometimes takes the end of its time for a failure";; \
	    *) exit 1;; \
	    esac; \
	  done; done

# Everything runs on a fresh machine with Go; what a target needs besides, it
# installs or names.
.PHONY: build demo test mutants e2e e2e-full chaos bench performance lint cross snapshot fuzz

export CGO_ENABLED ?= 0
BIN := $(CURDIR)/bin/evergrant

# What changes the bytes is not this machine's, be it kept by go env -w; where
# modules come from and lie, is.
RELEASED := CGO_ENABLED=0 GOENV=off GOFLAGS= GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GOFIPS140=off GOWORK=off
FETCHED = GOPROXY="$$(go env GOPROXY)" GOMODCACHE="$$(go env GOMODCACHE)" GOCACHE="$$(go env GOCACHE)"

build: ## the static binary, as it is released
	$(FETCHED) $(RELEASED) go build -tags nethttpomithttp2 -trimpath -buildvcs=false -ldflags='-s -w' -o $(BIN) ./cmd/evergrant

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

cross: ## builds the program for the systems that this one is not, and vets its code for Windows and macOS
	@set -e; for target in darwin/amd64 darwin/arm64 linux/arm64 windows/amd64 windows/arm64; do \
	  export GOOS=$${target%/*} GOARCH=$${target#*/}; echo "go build, $$target"; \
	  go build -tags nethttpomithttp2 -trimpath -buildvcs=false -ldflags='-s -w' -o /dev/null ./cmd/evergrant; \
	  case $$target in darwin/arm64 | windows/amd64) echo "go vet, $$target"; go vet -tags nethttpomithttp2 ./cmd/... ./internal/...;; esac; \
	done

snapshot: ## all that a release has, in dist/, without a release; needs Linux, git and jq, and installs goreleaser and syft
	bash packaging/snapshot dist

mutants: ## takes one rule of the protocol after another out and expects a test to fail
	go test -tags mutants -count=1 ./internal/mutants

e2e: cross ## the real binary against real peers, which it installs (npm, Go modules); mounts small disks; then chaos, short
	bash e2e/run
	bash chaos/run -short

e2e-full: cross mutants ## with the slow ones: a real forge, the files of a release, each parser fuzzed for a minute, 1,500 seeds, chaos in its long form (two hours)
	EVERGRANT_E2E_FULL=1 bash e2e/run
	go test -count=1 -timeout 30m ./internal/sim -run TestSurvival -seeds 1500 -v
	$(MAKE) fuzz FUZZTIME=60s
	bash chaos/run -beside

chaos: ## kills, signals, networks, disks and races, judged by the provider's ledger; writes docs/reliability.md
	bash chaos/run -beside

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

# The commands for developers of hail. They need Go only, except e2e and bench, which also need Node.

FUZZTIME ?= 30s
SOAKTIME ?= 2m
SOAKSEED ?= 0
BASE ?= HEAD
CASES ?= .

# The race detector needs cgo, which Go turns off if there is no C compiler.
race := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

.PHONY: help test lint e2e bench compare microbench fuzz soak vuln rename

help: ## Show this list
	@sed -nE 's/^([a-z0-9]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r verb text; do \
		printf '  make %-10s %s\n' "$$verb" "$$text"; done

test: ## Test every module, in about four minutes on two cores
	@scripts/each.sh go test $(race) -shuffle=on ./...
	go test -run Allocations ./internal/... ./test/lifecycle
	go test ./test/hostile
	go test -tags hailfault $(race) -v -run Soak ./test/soak
	$(if $(race),go test -tags hailfault -v -run Soak ./test/soak)

lint: ## Check every module: gofmt, vet, staticcheck; build the library for other systems
	@scripts/lint.sh

e2e: ## Drive the examples with ws, Chromium and WeChat's mini program; installs them
	@RACE=$(race) scripts/e2e.sh

bench: ## Run hail and its peers in turn; writes bench/RESULTS.md and a plot
	cd bench && go run . -out .

compare: ## Run hail at the revision BASE and in this tree in turn, on the cases that match CASES
	cd bench && go run . -base '$(BASE)' -cases '$(CASES)'

microbench: ## Run the library's own benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem . ./internal/... ./test/lifecycle

fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh $(FUZZTIME)

soak: ## Run random peers and faults against a model for twice SOAKTIME (2m), from SOAKSEED (random)
	go test -tags hailfault $(race) -timeout 0 -v -run Soak ./test/soak -soak $(SOAKTIME) -seed $(SOAKSEED)
	$(if $(race),go test -tags hailfault -timeout 0 -v -run Soak ./test/soak -soak $(SOAKTIME) -seed $(SOAKSEED))
	go test -tags soak $(race) -v -run LengthOf16GiB ./test/hostile
	$(if $(race),go test -tags soak -v -run LengthOf16GiB ./test/hostile)

vuln: ## Look for known vulnerabilities in imported code; needs the network
	@scripts/each.sh go tool -modfile="$(CURDIR)/tools/go.mod" govulncheck ./...

rename: ## Change the module path everywhere to MODULE
	@scripts/rename.sh '$(MODULE)'

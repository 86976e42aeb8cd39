# Everything a person or CI runs. `make test` is the whole check; each target sets up what it needs.
.DEFAULT_GOAL := help
.PHONY: help setup setup-test build test demo run bench fmt check clean

BRANCH ?= main

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what building and running needs (Debian), or say what is missing
	@sh tools/setup.sh build

setup-test:
	@sh tools/setup.sh test

build: setup ## compile the native library and the application
	@rebar3 compile

test: setup-test ## everything that is checked, formatting to consumers; stops at the first failure
	@bash tools/gate.sh all

check: setup-test ## the quick part of it: formatting, lints, compiling, calls between modules
	@bash tools/gate.sh quick

demo: build ## the main job on sample repositories, with a timeline; needs no configuration
	@sh examples/demo.sh

run: build ## follow a repository: make run REPO=https://host/gitops.git [BRANCH=main]
	@test -n "$(REPO)" || { echo "usage: make run REPO=<url or path of a git repository> [BRANCH=main]"; exit 2; }
	@sh examples/run.sh "$(REPO)" "$(BRANCH)"

bench: setup-test build ## measure; writes the table of bench/RESULTS.md
	@sh bench/run.sh

fmt: ## format the Rust code
	@cargo fmt --all

clean: ## remove everything that was built
	@rm -rf _build target priv/bc_gitops_nif.so priv/bc_gitops_runner

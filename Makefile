# `make` alone lists what there is. Everything works with any CARGO_TARGET_DIR.

CARGO_TARGET_DIR ?= target
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR

CARGO ?= cargo
LAB   := $(CARGO_TARGET_DIR)/debug/lab
BENCH := $(CARGO_TARGET_DIR)/debug/bench
AGENT := $(CARGO_TARGET_DIR)/release/node-upgrade-agent
PAGES := $(CARGO_TARGET_DIR)/debug/command-pages
# The package that is built here, under dpkg's own name for it.
DEB   := $(CARGO_TARGET_DIR)/deb/node-upgrade-agent_$(shell sed -n '1s/.*(\(.*\)).*/\1/p' packaging/debian/changelog)_$(shell dpkg --print-architecture 2>/dev/null).deb
# The package that demo, lab, bench and the cluster tests install on their nodes.
AGENT_DEB ?= $(DEB)
# Name of the cluster that demo, lab and lab-down mean: another one runs beside the first.
NAME  ?= lab

# One selection of packages for all that is not shipped: cargo builds a dependency anew for each set of features
# that a selection asks for.
TEST := $(CARGO) test --workspace

.PHONY: help
help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS='	' read -r target text; do \
		printf '  make %-15s %s\n' "$$target" "$$text"; done

.PHONY: tools
tools: ## Install the host programs that are missing for the lab, by apt, saying what each is for.
	@lab/install-tools.sh

.PHONY: build
build: $(AGENT) ## Build the agent as it is shipped.

.PHONY: deb
deb: $(DEB) ## Build the Debian package, and have lintian judge it.
	@echo $(DEB)

# cargo knows what is out of date; make then looks whether anything has changed.
.PHONY: FORCE
FORCE:
$(AGENT): FORCE
	$(CARGO) build --release --package node-upgrade-agent
$(PAGES): FORCE
	@$(CARGO) build --quiet --workspace --bin command-pages

PACKED := README.md CHANGELOG.md config.example.toml systemd/node-upgrade-agent.service \
	$(shell find docs packaging/build-deb packaging/debian packaging/kubernetes -type f)
$(DEB): $(AGENT) $(PAGES) $(PACKED)
	packaging/build-deb $(CARGO_TARGET_DIR)

.PHONY: lab-program
lab-program:
	@$(CARGO) build --quiet --workspace --bin lab

.PHONY: bench-program
bench-program:
	@$(CARGO) build --quiet --workspace --bin bench

.PHONY: demo
demo: tools lab-program $(AGENT_DEB) ## Boot a cluster of three nodes and watch it upgrade itself; it stays, to play on with.
	@$(LAB) demo --name $(NAME) --agent $(AGENT_DEB)

.PHONY: lab
lab: tools lab-program $(AGENT_DEB) ## Boot a cluster with agents installed, leave it running and say how to reach it.
	@$(LAB) up --name $(NAME)
	@$(LAB) deploy-tutorial --name $(NAME)
	@$(LAB) install-agent --name $(NAME) $(AGENT_DEB)
	@$(LAB) how-to --name $(NAME)

.PHONY: lab-down
lab-down: lab-program ## Remove the cluster of `make demo` or `make lab`.
	@$(LAB) down --name $(NAME)

.PHONY: check
check: ## Format, lints, documents, unit tests, histories, ways out, a short simulation: no root, no Go, under a minute when warm.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --quiet --no-deps --package upgrade-core --package upgrade-sim
	$(TEST) --lib --bins --test documents --test world --test histories --test ways_out --test simulation

.PHONY: test
test: check simulation contract-tests cluster-tests ## Everything .ci/run wants: check, a thousand seeds, contract suite, lab, scenarios on real nodes.

.PHONY: test-all
test-all: check contract-tests ## The same with the slow scenarios and ten thousand seeds.
	@$(MAKE) --no-print-directory simulation SEEDS=10000
	@$(MAKE) --no-print-directory cluster-tests SLOW=1

SEEDS ?= 1000
.PHONY: simulation
simulation: ## SEEDS random schedules, 1000 if not given; from 10000 on every cut too, instead of a sample.
	SIM_SEEDS=$(SEEDS) $(TEST) --test simulation

# At the fake API server, and at the real one where its programs are or can be built; otherwise it says so.
.PHONY: contract-tests
contract-tests: ## The contract suite at the fake API server, and at the real one where it can be built.
	$(TEST) --test contract

# Needs root and tools: without them it says what is left out, and fails where a pipeline counts on it.
.PHONY: cluster-tests
cluster-tests: lab-program ## The lab's own tests and the scenarios on real nodes, as root; SLOW=1 for all of them.
	@if $(LAB) check; then \
		$(MAKE) --no-print-directory real-nodes; \
	else \
		echo "Left out, for want of the above: the lab's own tests, the scenarios on real nodes."; \
		echo "As root, 'make tools' installs what is missing."; \
		test "$$CI" != true; \
	fi

# --ignored: the lab's own tests and the scenarios ask for being asked.
.PHONY: real-nodes
real-nodes: $(AGENT_DEB)
	NODE_UPGRADE_AGENT_DEB=$(AGENT_DEB) $(TEST) --test cluster --test scenarios -- $(if $(SLOW),--include-ignored,--ignored)

# A copy of cargo-mutants of its own, at one version: another one may make other mutants. It reads all of the rules for
# each mutant, so it is built with optimisation: unoptimised, this is a third of a mutant's time.
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_MUTANTS := $(CARGO_TARGET_DIR)/tools/cargo-mutants-$(CARGO_MUTANTS_VERSION)
$(CARGO_MUTANTS)/bin/cargo-mutants:
	$(CARGO) install --quiet --locked --root $(CARGO_MUTANTS) cargo-mutants --version $(CARGO_MUTANTS_VERSION)

.PHONY: mutants
mutants: $(CARGO_MUTANTS)/bin/cargo-mutants ## Break the rules one by one: which breaks does no test see? Hours; SAMPLE=40 SEED=7 for half an hour.
	@$(CARGO) build --quiet --workspace --bin mutants
	@$(CARGO_TARGET_DIR)/debug/mutants --tool $< --work $(CARGO_TARGET_DIR)/mutants \
		$(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$$ONLY")

MINUTES ?= 10
.PHONY: fuzz
fuzz: ## Journals, policies, annotations, Leases, configuration of every shape: MINUTES=10 each; TARGET=journals for one.
	@$(CARGO) build --quiet --workspace --bin fuzz
	@$(CARGO_TARGET_DIR)/debug/fuzz --work $(CARGO_TARGET_DIR)/fuzz --minutes $(MINUTES) \
		$(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED)) $(if $(INPUT),--input $(INPUT))

.PHONY: bench
bench: tools lab-program $(AGENT_DEB) bench-program ## Measure what docs/performance.md says; two hours and a half. ARGS='--only drains' for a part.
	@$(BENCH) --lab $(LAB) --agent $(AGENT_DEB) $(ARGS)

.PHONY: clean
clean: ## Remove what cargo built. The lab's cache stays: it is shared by all checkouts.
	$(CARGO) clean

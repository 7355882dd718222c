# The project's face. What a target does is in xtask/, so that it is Rust that
# is tested rather than shell; each target first installs what is missing.

# The Postgres to build for and to run: the first pg_config in PATH, or this.
PG_CONFIG ?=
export PG_CONFIG

# What `make demo` plays.
EVENTS ?= 500000
SEED ?= 1
DUPLICATES ?= 0.05
RATE ?= 0
KILL_WORKER ?=
KEEP ?=

# How long `make soak` and `make strangers` play.
MINUTES ?= 60

# What `make chaos` breaks; SEED draws the faults too.
CYCLES ?= 25

# How `make fuzz` and `make sqlsmith` look for findings; how long Postgres is away in `make outage`.
SECONDS ?=
TARGET ?=
CORPUS ?=

# What `make bench` measures.
ONLY ?=
ROUNDS ?= 3
LONG ?=

release := $(or $(CARGO_TARGET_DIR),target)/release
xtask := "$(release)/xtask"

.DEFAULT_GOAL := help
.PHONY: help setup for-worker for-install for-run for-test for-bench demo test install worker lint soak outage strangers overload chaos fuzz sqlsmith bench clean

help: ## this list
	@echo 'make <target> [VARIABLE=value ...]'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12
	@echo
	@echo 'PG_CONFIG    the Postgres to use (default: the first pg_config in PATH)'
	@echo 'For demo:'
	@echo 'EVENTS       how many distinct events ($(EVENTS))'
	@echo 'SEED         the same seed plays the same events ($(SEED))'
	@echo 'DUPLICATES   share of deliveries that are repeated ($(DUPLICATES))'
	@echo 'RATE         events a second, 0 = as fast as they are answered ($(RATE))'
	@echo 'KILL_WORKER  1 = SIGKILL the worker half-way and start it again'
	@echo 'KEEP         1 = keep everything running at the end, to look at it'
	@echo 'For soak:'
	@echo 'MINUTES      how long ($(MINUTES))'
	@echo 'RATE         events a second (2000 where it is 0); SEED as above'
	@echo 'For outage:'
	@echo 'SECONDS      how long Postgres is away ($(or $(SECONDS),60))'
	@echo 'RATE         webhooks a second (500 where it is 0)'
	@echo 'For strangers:'
	@echo 'MINUTES      how long ($(MINUTES)); SEED as above'
	@echo 'For overload:'
	@echo 'SECONDS      how long ($(or $(SECONDS),120))'
	@echo 'For chaos:'
	@echo 'CYCLES       faults, one after another ($(CYCLES))'
	@echo 'SEED         the same seed draws the same faults ($(SEED))'
	@echo 'For fuzz and sqlsmith:'
	@echo 'SECONDS      how long each target, or sqlsmith, runs ($(or $(SECONDS),600))'
	@echo 'TARGET       one of fuzz/fuzz_targets (default: all)'
	@echo 'CORPUS       1 = write what matters of the corpus to core/testdata/corpus'
	@echo 'For bench:'
	@echo 'ONLY         these rows alone, separated by commas ($(release)/tidings-bench --list)'
	@echo 'ROUNDS       how often each contender has its turn ($(ROUNDS))'
	@echo 'LONG         1 = ten minutes for each steady state'
	@echo 'KEEP         1 = with ONLY, write BENCHMARKS.md from the rows that were measured so far'

setup: ## install what is missing for any of these
	@xtask/setup.sh test

# Each installs what it needs, and no more. Debian's packages may be installed by one
# target at a time.
.NOTPARALLEL:

for-worker:
	@xtask/setup.sh worker
	cargo build --release

for-install:
	@xtask/setup.sh install
	cargo build --release -p xtask

for-run:
	@xtask/setup.sh run
	cargo build --release

# Tests and lints build programs and tests as one set: dependencies that tests
# alone need change the features of others, which would be compiled once more.
for-test: setup
	cargo build --release --workspace --exclude tidings --all-targets

# The programs are built as for-run builds them, and the benchmark apart from them, because its
# dependencies would change their features.
for-bench:
	@xtask/setup.sh bench
	cargo build --release
	cargo build --release -p tidings-bench

demo: for-run ## the four providers, emulated, into a private Postgres; then the proof
	@$(xtask) demo --events $(EVENTS) --seed $(SEED) --duplicates $(DUPLICATES) --rate $(RATE) \
	  $(if $(KILL_WORKER),--kill-worker) $(if $(KEEP),--keep)

chaos: for-run ## everything at work while it is killed, cut off and paused; fails at any loss
	@$(xtask) install
	@$(xtask) chaos --cycles $(CYCLES) --seed $(SEED)

test: for-test ## all tests
	@$(xtask) test

install: for-install ## build the extension and install it into the Postgres
	@$(xtask) install --dist

worker: for-worker ## build the worker
	@echo $(release)/tidings-worker

lint: for-test ## formatting, layout, clippy, PL/pgSQL, documentation
	@$(xtask) lint

soak: for-run ## everything at work for long; fails where something grows
	@$(xtask) install
	@$(xtask) soak --minutes $(MINUTES) --rate $(or $(filter-out 0,$(RATE)),2000) --seed $(SEED)

outage: for-run ## Postgres is killed while webhooks arrive; fails unless all are kept
	@$(xtask) install
	@$(xtask) outage --seconds $(or $(SECONDS),60) --rate $(or $(filter-out 0,$(RATE)),500)

strangers: for-run ## the providers among idle calls and malformed requests
	@$(xtask) install
	@$(xtask) strangers --minutes $(MINUTES) --seed $(SEED)

overload: for-run ## more webhooks than Postgres takes; fails where fewer are answered than it takes
	@$(xtask) install
	@$(xtask) overload --seconds $(or $(SECONDS),120)

fuzz: for-worker ## parsers fed with what nobody should send; fails at a finding
	@$(xtask) fuzz --seconds $(or $(SECONDS),600) $(if $(TARGET),--target $(TARGET)) $(if $(CORPUS),--keep)

sqlsmith: for-run ## SQL at random against the extension; fails where a backend does
	@$(xtask) install
	@$(xtask) sqlsmith --seconds $(or $(SECONDS),600)

bench: for-bench ## Tidings beside its peers and its limits, into BENCHMARKS.md; 30 minutes
	@$(xtask) install --dist
	@"$(release)/tidings-bench" --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY)) $(if $(LONG),--long) $(if $(ONLY),$(if $(KEEP),--keep))

clean: ## remove what was built
	cargo clean

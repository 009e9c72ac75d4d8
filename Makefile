# The front door: `make help` lists every recipe. CI calls the same recipes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := target/venv
SETUP_DONE := $(VENV)/.done
# How many kills the crash suite makes.
CYCLES ?= 100

# What scripts and ignored tests find their tools by.
export TIDEGATE_PYTHON := $(CURDIR)/$(VENV)/bin/python
export TIDEGATE_SERVICES := $(CURDIR)/$(VENV)/bin
# The binary stands below the name of the platform, see .cargo/config.toml.
BINARIES := target/$(shell rustc --print host-tuple)/release
export TIDEGATE_BIN := $(CURDIR)/$(BINARIES)/tidegate
# The shipped binary. Its package alone, so that nothing of the tests comes along. The linker that comes
# with Rust on x86-64 folds functions that came out alike and packs relocations: a tenth less to pull.
COMMA := ,
FOLDING := $(if $(filter x86_64-%,$(BINARIES:target/%=%)),-Clink-arg=-Wl$(COMMA)--icf=all -Clink-arg=-Wl$(COMMA)-z$(COMMA)pack-relative-relocs)
DIST_BUILD := cargo rustc --profile dist --locked --package tidegate --bin tidegate -- $(FOLDING)

.PHONY: help
help: ## list the recipes
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(SETUP_DONE) ## install what tests and demo need, under target/ (warm: nothing to do)

$(SETUP_DONE): tests/requirements.txt scripts/setup.sh
	@scripts/setup.sh $(VENV) tests/requirements.txt

.PHONY: build
build: setup ## build the tidegate binary (release profile)
	@# The whole workspace is named so that features are those of the tests: nothing is compiled twice.
	cargo build --release --locked --workspace --bin tidegate

.PHONY: demo
demo: build ## ingest a year of real flights, verify the table, ask it a question
	@scripts/demo.sh

.PHONY: test
test: setup ## everything: unit, service, crash and interop tests, generated files, lints
	@CYCLES=$(CYCLES) scripts/test.sh

.PHONY: unit
unit: ## the tests that need nothing but cargo
	cargo test --release --locked --workspace

.PHONY: crash
crash: setup ## the crash suite alone, longer: make crash CYCLES=2000
	CYCLES=$(CYCLES) PATH="$(TIDEGATE_SERVICES):$$PATH" \
	    cargo test --release --locked --workspace crash -- --ignored --nocapture

.PHONY: bulk
bulk: build ## the tests of bulk pipelines alone: Postgres, MariaDB, files, schedules, backfills
	PATH="$(TIDEGATE_SERVICES):$$PATH" \
	    cargo test --release --locked --workspace \
	    --test bulk_runs --test bulk_crash --test postgres --test mysql --test objects_s3 \
	    --test objects_clouds --test memory -- --include-ignored

.PHONY: cluster
cluster: build ## the tests on a Kubernetes control plane alone (needs Go; builds it once)
	tools=$$(scripts/cluster-tools.sh); \
	TIDEGATE_CLUSTER_TOOLS=$$tools RUST_TEST_THREADS=6 PATH="$(TIDEGATE_SERVICES):$$PATH" \
	    cargo test --release --locked --workspace -- --ignored cluster_ cluster::

.PHONY: crash-points
crash-points: build ## the operator dies at each of its requests: make crash-points SCENARIOS=edit,drift
	SCENARIOS=$(or $(SCENARIOS),all) cargo test --release --locked --workspace --test hard crash_points \
	    -- --ignored --nocapture

.PHONY: mutations
mutations: build ## generated edits of many pipelines: make mutations CASES=50000 SEED=7 HERD=24
	CASES=$(or $(CASES),20000) SEED=$(or $(SEED),$$RANDOM) HERD=$(HERD) \
	    cargo test --release --locked --workspace --test hard mutations -- --ignored --nocapture

.PHONY: bench-operator
bench-operator: build ## a thousand pipelines and one operator: time, memory, requests (PIPELINES=, STEADY=)
	PIPELINES=$(PIPELINES) STEADY=$(STEADY) cargo bench --locked --workspace --bench operator

# What others move the same rows with; an environment of its own.
BENCH_VENV := target/venv-bulk
$(BENCH_VENV)/.done: bench/requirements.txt
	python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt
	@touch $@

.PHONY: bench-bulk
bench-bulk: setup $(BENCH_VENV)/.done ## Postgres to Parquet beside DuckDB, ADBC and ConnectorX (ROWS=, ROUNDS=)
	@# The shipped profile: that of the tests checks more than it hurries.
	$(DIST_BUILD)
	@mkdir -p target/bench
	@TIDEGATE_BIN=$(CURDIR)/$(BINARIES:%/release=%/dist)/tidegate TIDEGATE_BENCH_PYTHON=$(BENCH_VENV)/bin/python \
	    $(BENCH_VENV)/bin/python bench/bulk.py target/bench/bulk.json \
	    --rows $(or $(ROWS),3000000) --rounds $(or $(ROUNDS),3)

.PHONY: interop
interop: build ## DuckDB, deltalake and polars read tables on a local directory and on S3
	@$(TIDEGATE_PYTHON) tests/interop.py

.PHONY: spark-interop
spark-interop: build ## Spark with Delta reads such a table (needs Java 17 and Maven; half a gigabyte)
	@scripts/spark.sh 6

.PHONY: billing
billing: build ## the billing example on a Postgres that does not stand still; five minutes (DAYS= of last month)
	@rm -rf target/billing
	@cd tests && TIDEGATE_BIN=$(TIDEGATE_BIN) $(TIDEGATE_PYTHON) billing.py $(CURDIR)/target/billing \
	    --days $(or $(DAYS),31)

# Airflow in an environment of its own: a quarter of a gigabyte, two to three minutes when cold.
WORKFLOW_VENV := target/venv-workflows
$(WORKFLOW_VENV)/.done: tests/requirements-workflows.txt
	python3 -m venv $(WORKFLOW_VENV)
	$(WORKFLOW_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements-workflows.txt
	@touch $@

.PHONY: workflow-examples
workflow-examples: $(WORKFLOW_VENV)/.done ## the examples for Argo and Airflow: its schema, a real Airflow (needs Go)
	@$(WORKFLOW_VENV)/bin/python tests/workflow_examples.py $(WORKFLOW_VENV)/bin/python

.PHONY: charts
charts: setup ## the Helm charts: schemas of Kubernetes, rights, alerts, runbooks
	@scripts/charts.sh

# Megabytes that a node may have to pull.
IMAGE_LIMIT := 20
.PHONY: image
image: setup ## the container image of the dist profile, and how large it is (ten minutes when cold)
	$(DIST_BUILD)
	@scripts/image.sh $(BINARIES:%/release=%/dist)/tidegate tidegate:$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml) $(IMAGE_LIMIT)

.PHONY: e2e
e2e: build ## charts, broker, store and a pipeline in a kind cluster; KIND_IMAGE=… names a node image
	@scripts/e2e.sh

.PHONY: lint
lint: ## clippy, formatting, generated files, dependency arrows
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	cargo build --release --locked --quiet --workspace --bin xtask
	$(BINARIES)/xtask check

.PHONY: generate
generate: ## write the generated files anew (CRDs, reference)
	cargo build --release --locked --quiet --workspace --bin xtask
	$(BINARIES)/xtask generate

.PHONY: clean-data
clean-data: ## remove what demo and tests left behind; keeps the build and the environment
	rm -rf target/demo target/interop target/tmp target/test-logs

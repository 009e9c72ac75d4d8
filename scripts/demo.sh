#!/usr/bin/env bash
# make demo: a year of flights through a real broker into a Delta table, proved and asked.
#
# Leaves the table at target/demo/flights. Wanted from the environment: TIDEGATE_BIN,
# TIDEGATE_SERVICES, TIDEGATE_PYTHON (the Makefile sets them).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/nats.sh

demo=$PWD/target/demo
pipeline=examples/flights/pipeline.yaml
table=file://$demo/flights
# The stream's duplicateWindow in pipeline.yaml is 2s; copies sent after this pause get past the broker.
pause=3

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

# Shows what is run, short enough to read, and keeps its words for the check at the end.
tidegate() {
    local log=$1
    shift
    printf '$ tidegate %s\n' "${*//"$demo"/target\/demo}"
    "$TIDEGATE_BIN" "$@" | tee "$demo/$log"
}

rm -rf "$demo"
mkdir -p "$demo"
started=$SECONDS

say "1. A year of flights as JSON messages"
"$TIDEGATE_PYTHON" scripts/demo_prepare.py "$demo"

say "2. A broker, and the messages into it; some broken on the way, some sent again"
start_nats "$demo"
echo "nats-server listens on $NATS_URL"
set_up=(-f "$pipeline" --set "spec.source.jetStream.servers=[\"$NATS_URL\"]" --set "spec.sink.storage.url=$table")
send=(publish "${set_up[@]}" --subject 'flights.{carrier}' --id-field id --input)
tidegate publish.log "${send[@]}" "$demo/messages.ndjson"
sleep "$pause"
tidegate resend.log "${send[@]}" "$demo/resent.ndjson"

say "3. Ingest until caught up"
tidegate run.log run "${set_up[@]}" --until-caught-up

say "4. Prove that nothing is missing or doubled"
tidegate verify.log verify "${set_up[@]}" --source

say "5. Look at the table with engines that are not ours, and ask it something"
"$TIDEGATE_PYTHON" scripts/demo_check.py "$demo" "$table"

say "Done in $((SECONDS - started)) s. The table is yours to look at: target/demo/flights"

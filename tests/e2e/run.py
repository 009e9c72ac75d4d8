#!/usr/bin/env python3
"""Drives a pipeline through its life in a kind cluster: run.py [--seed N]

scripts/e2e.sh has brought up the cluster and the images. Wanted from the environment: KUBECONFIG,
TIDEGATE_CLUSTER_TOOLS. The closing line is cargo's; logs of every pod and, after a failure, what the
cluster looked like are left in target/e2e.
"""

import argparse
import sys
import time
import traceback

import documents
import kube
import table
from bulk import Bulk
from scenario import Scenario
from witness import Witness

HERE = kube.ROOT / "tests/e2e"
DUMPS = {
    "pods.txt": ("get", "pods", "-A", "-o", "wide"),
    "described.txt": ("describe", "pods", "-A"),
    "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "objects.yaml": ("get", "all,configmaps,leases,poddisruptionbudgets,networkpolicies", "-A", "-o", "yaml"),
    "pipelines.yaml": ("get", "ingestionpipelines,ingestionruns", "-A", "-o", "yaml"),
}


def bring_up_services():
    kube.kubectl("apply", "-f", str(HERE / "manifests/services.yaml"))
    kube.kubectl("apply", "-f", str(HERE / "manifests/postgres.yaml"))
    kube.apply(*documents.service_secrets())
    namespaces = (documents.NAMESPACE, documents.OPERATOR_NAMESPACE)
    kube.apply(*map(documents.namespace, namespaces))
    kube.apply(*documents.pipeline_secrets(), documents.pipeline_config_map())
    for service in ("statefulset/nats", "deployment/s3", "deployment/postgres"):
        kube.kubectl("-n", "services", "rollout", "status", service, "--timeout=120s")


def run_steps(steps):
    """Runs the steps until one fails; returns how many passed, failed and were left out."""
    for number, step in enumerate(steps):
        name, started = step.__name__, time.monotonic()
        try:
            step()
        except Exception as failure:  # noqa: BLE001 - whatever it was, the result is told
            print(f"test {name} ... FAILED after {time.monotonic() - started:.0f} s\n  {failure}", flush=True)
            if not isinstance(failure, kube.Failed):
                traceback.print_exc()
            return number, 1, len(steps) - number - 1
        print(f"test {name} ... ok ({time.monotonic() - started:.0f} s)", flush=True)
    return len(steps), 0, 0


def steps(flights, orders):
    """Everything that happens, in this order."""
    return (
        flights.helm_installs_both_charts,
        flights.an_applied_pipeline_becomes_ready_and_rows_arrive,
        orders.a_schedule_catches_up_from_a_database,
        orders.a_backfill_makes_a_run_for_each_interval,
        orders.a_run_made_again_replaces_its_interval,
        orders.a_killed_coordinator_is_followed_by_the_next_attempt,
        flights.workers_killed_without_grace_lose_nothing,
        flights.an_edit_rolls_out_while_data_flows,
        flights.an_edit_is_followed_after_the_leading_operator_was_deleted,
        flights.a_restarted_broker_loses_nothing,
        flights.helm_upgrades_while_data_flows,
        flights.helm_rolls_back_while_data_flows,
        flights.a_drained_node_costs_nothing,
        orders.a_drained_coordinator_is_followed_by_the_next_attempt,
        orders.a_killed_reader_of_a_chunk_is_replaced_alone,
        orders.a_deleted_pipeline_takes_the_runs_of_its_schedule_along,
        flights.a_suspended_pipeline_has_no_pods_and_resumes_from_its_floor,
        flights.an_idle_pipeline_scales_to_zero_and_back,
        flights.verify_as_a_job_proves_that_nothing_is_missing_or_doubled,
        flights.other_engines_find_every_id_exactly_once,
        flights.a_deleted_pipeline_leaves_nothing_behind,
        flights.helm_uninstalls_all_but_the_definitions,
        flights.no_pod_was_restarted_or_killed_without_being_told_to,
        flights.no_secret_shows_in_logs_events_or_status,
    )


def dump():
    for name, command in DUMPS.items():
        (kube.OUTPUT / name).write_text(kube.kubectl(*command, check=False))
    print(f"what the cluster looked like is in {kube.OUTPUT}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=int(time.time()), help="which pods and nodes are hit")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    started = time.monotonic()
    bring_up_services()
    witness = Witness()
    try:
        with kube.forwarded("services", "service/s3", 8333) as store:
            table.reach(store)
            passed, failed, ignored = run_steps(steps(Scenario(witness, given.seed), Bulk(witness)))
        if failed:
            dump()
            print("troubles of pods:", witness.troubles() or "none", flush=True)
    finally:
        witness.stop()
    word = "FAILED" if failed else "ok"
    print(
        f"test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; "
        f"finished in {time.monotonic() - started:.0f}s",
        flush=True,
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

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
from scenario import Scenario
from witness import Witness

HERE = kube.ROOT / "tests/e2e"
DUMPS = {
    "pods.txt": ("get", "pods", "-A", "-o", "wide"),
    "described.txt": ("describe", "pods", "-A"),
    "events.txt": ("get", "events", "-A", "--sort-by=.lastTimestamp"),
    "objects.yaml": ("get", "all,configmaps,leases,poddisruptionbudgets,networkpolicies", "-A", "-o", "yaml"),
    "pipelines.yaml": ("get", "ingestionpipelines", "-A", "-o", "yaml"),
}


def bring_up_services():
    kube.kubectl("apply", "-f", str(HERE / "manifests/services.yaml"))
    kube.apply(*documents.service_secrets())
    namespaces = (documents.NAMESPACE, documents.OPERATOR_NAMESPACE)
    kube.apply(*map(documents.namespace, namespaces))
    kube.apply(*documents.pipeline_secrets(), documents.pipeline_config_map())
    for service in ("statefulset/nats", "deployment/s3"):
        kube.kubectl("-n", "services", "rollout", "status", service, "--timeout=120s")


def run_steps(scenario):
    """Runs the steps until one fails; returns how many passed, failed and were left out."""
    for number, step in enumerate(scenario.STEPS):
        name, started = step.__name__, time.monotonic()
        try:
            step(scenario)
        except Exception as failure:  # noqa: BLE001 - whatever it was, the result is told
            print(f"test {name} ... FAILED after {time.monotonic() - started:.0f} s\n  {failure}", flush=True)
            if not isinstance(failure, kube.Failed):
                traceback.print_exc()
            return number, 1, len(scenario.STEPS) - number - 1
        print(f"test {name} ... ok ({time.monotonic() - started:.0f} s)", flush=True)
    return len(scenario.STEPS), 0, 0


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
            passed, failed, ignored = run_steps(Scenario(witness, given.seed))
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

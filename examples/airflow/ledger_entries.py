"""An Airflow DAG that lets Tidegate move a ledger hour by hour (Airflow 3, package `kubernetes`).

A task makes an IngestionRun for its data interval and waits for it. The table's log, not Airflow, knows which
hours are done: clearing a task runs its hour again and replaces it, and two runs of one hour never double it.
The pipeline needs `bulk.schedule` for the grid of hours; a `startAt` far away, such as 2100-01-01T00:00:00Z,
keeps the operator from making runs of its own.

Airflow's service account needs `create` and `get` on `ingestionruns.tidegate.dev` in the namespace.
"""

import datetime
import time

from airflow.exceptions import AirflowException
from airflow.sdk import dag, get_current_context, task
from airflow.timetables.interval import CronDataIntervalTimetable

GROUP, VERSION, PLURAL = "tidegate.dev", "v1alpha1", "ingestionruns"
NAMESPACE, PIPELINE = "billing", "ledger-entries"
POLL_SECONDS = 10


def runs_api():
    """The Kubernetes API: from within the cluster, else by the kubeconfig."""
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return client.CustomObjectsApi()


def document(name, start, end):
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "IngestionRun",
        "metadata": {"name": name},
        "spec": {
            "pipelineRef": {"name": PIPELINE},
            "trigger": "Manual",
            "interval": {"start": rfc3339(start), "end": rfc3339(end)},
        },
    }


def rfc3339(instant):
    return instant.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_name(end, attempt):
    """The same for the same attempt of the same interval, so that a task that lost its worker finds its run."""
    return f"{PIPELINE}-{end.astimezone(datetime.timezone.utc):%Y%m%dt%H%M%Sz}-a{attempt}"


def make_or_find(api, name, start, end):
    from kubernetes.client.exceptions import ApiException

    try:
        api.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, document(name, start, end))
    except ApiException as error:
        if error.status != 409:
            raise


def wait_for(api, name):
    """Waits for the run's end; what it did."""
    while True:
        run = api.get_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, name)
        status = run.get("status", {})
        if status.get("phase") == "Succeeded":
            return status.get("rows", {})
        if status.get("phase") == "Failed":
            raise AirflowException(f"run {name} failed: {reason(status)}")
        time.sleep(POLL_SECONDS)


def reason(status):
    ready = [one for one in status.get("conditions", []) if one["type"] == "Ready"]
    return f"{ready[0]['reason']}: {ready[0]['message']}" if ready else "no reason given"


@dag(
    dag_id="tidegate_ledger_entries",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    catchup=False,
    max_active_runs=4,
    tags=["tidegate"],
)
def ledger_entries():
    @task(retries=2, retry_delay=datetime.timedelta(minutes=5), execution_timeout=datetime.timedelta(hours=2))
    def transfer():
        context = get_current_context()
        start, end = context["data_interval_start"], context["data_interval_end"]
        name = run_name(end, context["ti"].try_number)
        api = runs_api()
        make_or_find(api, name, start, end)
        return wait_for(api, name)

    transfer()


ledger_entries()

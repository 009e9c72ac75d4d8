#!/usr/bin/env python3
"""The examples for workflow engines, against the engines themselves.

    workflow_examples.py PYTHON

PYTHON has what tests/requirements-workflows.txt lists: the DAG in examples/airflow is imported by a real
Airflow, and its task is run against an API server that plays the operator. The template in examples/argo is
checked against the JSON schema that Argo publishes in its Go module, and the runs that it makes against our
own definition. By hand: make workflow-examples.
"""

import copy
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

from checks import check, leave_out, result

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARGO = "github.com/argoproj/argo-workflows/v3@v3.7.0"
TEMPLATE = "io.argoproj.workflow.v1alpha1.WorkflowTemplate"
DAG = "tidegate_ledger_entries"
# Those that need the schema.
ARGO_CHECKS = 2


# --- Argo


def argo_schema():
    """Argo's schema; none without Go."""
    try:
        command = ["go", "mod", "download", "-json", ARGO]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    except FileNotFoundError:
        return None
    if done.returncode != 0:
        sys.exit(f"FAILED: {' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads((pathlib.Path(json.loads(done.stdout)["Dir"]) / "api/jsonschema/schema.json").read_text())


def strict(schema):
    """The schema without room for fields that it does not know."""
    for definition in schema["definitions"].values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
    return {"$ref": f"#/definitions/{TEMPLATE}", "definitions": schema["definitions"]}


def strict_run():
    """Our definition of a run, as JSON schema."""
    import yaml

    documents = yaml.safe_load_all((ROOT / "crds/ingestionruns.yaml").read_text())
    (definition,) = [one for one in documents if one["spec"]["names"]["kind"] == "IngestionRun"]
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    closed(schema["properties"]["spec"])
    return schema


def closed(schema):
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for inner in schema.get("properties", {}).values():
        closed(inner)


def errors(document, schema):
    import jsonschema

    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


def check_argo():
    import yaml

    template = yaml.safe_load((ROOT / "examples/argo/workflow-template.yaml").read_text())
    published = argo_schema()
    if published is None:
        print("left out: Argo's schema comes with a Go module, and Go is missing")
        leave_out(ARGO_CHECKS)
    else:
        schema = strict(published)
        check(f"Argo's schema: {errors(template, schema)}", not errors(template, schema))
        misspelt = copy.deepcopy(template)
        misspelt["spec"]["templates"][0]["resource"]["sucessCondition"] = "x"
        check("the schema finds a misspelt field", errors(misspelt, schema))
    rights = list(yaml.safe_load_all((ROOT / "examples/argo/rights.yaml").read_text()))
    account = template["spec"]["serviceAccountName"]
    check("the workflow's account has rights", any(r["metadata"]["name"] == account for r in rights))
    run_schema = strict_run()
    for step in template["spec"]["templates"]:
        check_step(step, run_schema)


def check_step(step, run_schema):
    import yaml

    declared = {parameter["name"] for parameter in step["inputs"]["parameters"]}
    manifest = step["resource"]["manifest"]
    used = set(re.findall(r"\{\{inputs\.parameters\.(\w+)\}\}", manifest))
    check(f"{step['name']}: parameters {declared} are those that are used, {used}", declared == used)
    values = {"pipeline": "ledger-entries", "start": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:00:00Z"}
    run = yaml.safe_load(re.sub(r"\{\{inputs\.parameters\.(\w+)\}\}", lambda found: values[found[1]], manifest))
    check(f"{step['name']}: {errors(run, run_schema)}", not errors(run, run_schema))
    check(f"{step['name']}: a name of its own", run["metadata"]["generateName"].endswith("-"))
    phases = json.dumps(run_schema["properties"]["status"]["properties"]["phase"])
    for condition in ("successCondition", "failureCondition"):
        field, phase = re.fullmatch(r"status\.(\w+) == (\w+)", step["resource"][condition]).groups()
        check(f"{step['name']}: {condition} can become true", field == "phase" and f'"{phase}"' in phases)


# --- Airflow


class Cluster(http.server.BaseHTTPRequestHandler):
    """An API server whose runs go through the phases of `script`, one an answer."""

    script = []
    made = {}

    def do_POST(self):
        run = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = run["metadata"]["name"]
        if name in self.made:
            return self.answer(409, {"kind": "Status", "code": 409, "reason": "AlreadyExists"})
        self.made[name] = run
        return self.answer(201, run)

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        if name not in self.made:
            return self.answer(404, {"kind": "Status", "code": 404})
        return self.answer(200, {**self.made[name], "status": self.script.pop(0)})

    def answer(self, code, document):
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def check_airflow():
    """Called by Airflow's Python, with a home of its own."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(ROOT / "examples/airflow"))
    check(f"the DAG is imported: {bag.import_errors}", not bag.import_errors and DAG in bag.dags)
    dag = bag.dags[DAG]
    check("one task", dag.task_ids == ["transfer"])
    check("hours are data intervals", type(dag.timetable).__name__ == "CronDataIntervalTimetable")
    module = sys.modules[dag.get_task("transfer").python_callable.__module__]
    check_task(module)


def check_task(module):
    import datetime

    from airflow.exceptions import AirflowException
    from kubernetes import client

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    api = client.CustomObjectsApi(client.ApiClient(configuration))
    module.POLL_SECONDS = 0
    zone = datetime.timezone(datetime.timedelta(hours=9))
    end = datetime.datetime(2026, 6, 1, 10, tzinfo=zone)
    start = end - datetime.timedelta(hours=1)
    name = module.run_name(end, 1)
    check(f"the run's name, {name}", name == "ledger-entries-20260601t010000z-a1")

    rows = {"read": 5, "committed": 5}
    Cluster.script = [{}, {"phase": "Running"}, {"phase": "Succeeded", "rows": rows}]
    module.make_or_find(api, name, start, end)
    check("the rows are the task's answer", module.wait_for(api, name) == rows)
    run = Cluster.made[name]
    interval = {"start": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:00:00Z"}
    check(f"the interval is Airflow's, in UTC: {run}", run["spec"]["interval"] == interval)
    check(f"{errors(run, strict_run())}", not errors(run, strict_run()))

    module.make_or_find(api, name, start, end)
    check("a task that lost its worker finds its run", len(Cluster.made) == 1)
    condition = {"type": "Ready", "status": "False", "reason": "IntervalShrank", "message": "5 rows before"}
    Cluster.script = [{"phase": "Failed", "conditions": [condition]}]
    try:
        module.wait_for(api, name)
    except AirflowException as error:
        check(f"the reason is told: {error}", "IntervalShrank: 5 rows before" in str(error))
    else:
        check("a failed run fails the task", False)
    server.shutdown()


def main():
    if sys.argv[1:] == ["--inside"]:
        check_argo()
        check_airflow()
        print(result())
        return 0
    (python,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        }
        return subprocess.call([python, __file__, "--inside"], env=environment)


if __name__ == "__main__":
    sys.exit(main())

"""What happens to the cluster and to a streaming pipeline in it. Each public method that `run.py` names is a test."""

import json
import random
import urllib.request

import documents
import flow
import kube
import table
from documents import NAMESPACE, OPERATOR_NAMESPACE, PIPELINE
from kube import eventually, expect, get, get_all, kubectl

CHARTS = kube.ROOT / "charts"
WORKERS = "app.kubernetes.io/component=worker"
AGENT = "app.kubernetes.io/component=agent"
KILLS = 4


class Scenario:
    """A pipeline's life. Steps build on each other, so the first that fails ends it."""

    def __init__(self, witness, seed):
        self.witness = witness
        self.random = random.Random(seed)
        self.flow = flow.Flow(documents.publishing_job)

    # What is seen

    def pipeline(self):
        return get("ingestionpipeline", PIPELINE, "-n", NAMESPACE)

    def pods(self, label, namespace=NAMESPACE):
        """Pods that are not leaving."""
        found = get_all("pods", "-n", namespace, "-l", label)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, label, namespace=NAMESPACE):
        return [pod for pod in self.pods(label, namespace) if kube.condition(pod, "Ready")[0] == "True"]

    def catches_up(self, seconds=90):
        """Data still flows: what is published by now arrives, and one part more."""
        wanted = self.flow.records()
        if self.flow.flows():
            wanted += flow.PART
        eventually(f"{wanted} rows are there", seconds, lambda: self.has_rows(wanted))

    def has_rows(self, wanted):
        self.flow.check()
        rows = table.rows(documents.TABLE)
        expect(rows >= wanted, f"{rows} of {wanted} rows")
        return True

    def becomes_ready(self, seconds=90):
        kubectl(
            "-n", NAMESPACE, "wait", f"ingestionpipeline/{PIPELINE}", "--for=condition=Ready", f"--timeout={seconds}s"
        )

    def edit(self, spec):
        kubectl("-n", NAMESPACE, "patch", "ingestionpipeline", PIPELINE, "--type=merge", "-p", json.dumps({"spec": spec}))

    def install(self, tag, *command):
        """Installs or upgrades the operator with another tag of the image."""
        repository, _ = documents.IMAGE.split(":")
        kube.helm(
            *command, "tidegate", str(CHARTS / "tidegate"), "--namespace", OPERATOR_NAMESPACE,
            "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
            "--set", "operator.pollInterval=2s", "--wait", "--timeout", "2m",
        )  # fmt: skip

    # What happens

    def helm_installs_both_charts(self):
        kube.helm("install", "tidegate-crds", str(CHARTS / "tidegate-crds"), "--namespace", OPERATOR_NAMESPACE)
        self.install(documents.IMAGE.split(":")[1], "install")

    def an_applied_pipeline_becomes_ready_and_rows_arrive(self):
        kube.apply(documents.pipeline())
        self.flow.start()
        self.becomes_ready()
        self.catches_up()
        eventually("rows are there", 60, lambda: table.rows(documents.TABLE) > 0)

    def workers_killed_without_grace_lose_nothing(self):
        for _ in range(KILLS):
            workers = eventually("a worker is ready", 60, lambda: self.ready_pods(WORKERS))
            self.kill(self.random.choice(workers))
            eventually("two workers are ready", 60, lambda: len(self.ready_pods(WORKERS)) == 2)
        self.kill(*self.pods(WORKERS), *self.pods(AGENT))
        self.becomes_ready()
        self.catches_up()

    def kill(self, *victims):
        """At once and without grace; returns when the API server has forgotten them."""
        for victim in victims:
            self.witness.was_told(victim)
        names = [victim["metadata"]["name"] for victim in victims]
        kubectl("-n", NAMESPACE, "delete", "pod", *names, "--grace-period=0", "--force")

    def an_edit_is_followed_after_the_leading_operator_was_deleted(self):
        lease = get("lease", "tidegate-operator", "-n", OPERATOR_NAMESPACE)
        leader = lease["spec"]["holderIdentity"]
        kubectl("-n", OPERATOR_NAMESPACE, "delete", "pod", leader)
        self.rolls_to({"sink": {"flush": {"maxInterval": "3s"}}})

    def an_edit_rolls_out_while_data_flows(self):
        self.rolls_to({"sink": {"file": {"targetSize": "1Mi"}, "flush": {"maxInterval": "2s"}}})
        self.catches_up()

    def rolls_to(self, spec):
        """The edit reaches every worker, and the pipeline says so."""
        before = {pod["metadata"]["uid"] for pod in self.pods(WORKERS)}
        self.edit(spec)
        eventually("every worker is a new one", 90, lambda: self.all_new(before))
        self.becomes_ready()

    def all_new(self, before):
        now = {pod["metadata"]["uid"] for pod in self.ready_pods(WORKERS)}
        return len(now) >= 2 and not now & before

    def a_restarted_broker_loses_nothing(self):
        kubectl("-n", "services", "delete", "pod", "nats-0")
        kubectl("-n", "services", "rollout", "status", "statefulset/nats", "--timeout=60s")
        self.becomes_ready()
        self.catches_up(120)

    def helm_upgrades_while_data_flows(self):
        self.install(documents.NEXT_IMAGE.split(":")[1], "upgrade")
        self.runs(documents.NEXT_IMAGE)
        self.catches_up()

    def helm_rolls_back_while_data_flows(self):
        kube.helm("rollback", "tidegate", "1", "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "2m")
        self.runs(documents.IMAGE)
        self.catches_up()

    def runs(self, image):
        """Operator, agent and workers run this image."""
        eventually(f"every pod runs {image}", 120, lambda: self.images() == {image})
        self.becomes_ready()

    def images(self):
        """The images of all pods of ours, the leaving ones included."""
        pods = get_all("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=tidegate")
        pods += get_all("pods", "-n", OPERATOR_NAMESPACE)
        # Those of finished runs stay with their run.
        live = [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        return {pod["spec"]["containers"][0]["image"] for pod in live}

    def a_drained_node_costs_nothing(self):
        node = self.random.choice(self.ready_pods(WORKERS))["spec"]["nodeName"]
        kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
        self.becomes_ready()
        elsewhere = all(pod["spec"]["nodeName"] != node for pod in self.ready_pods(WORKERS))
        kubectl("uncordon", node)
        expect(elsewhere, f"a worker is still on {node}")
        self.catches_up()

    def a_suspended_pipeline_has_no_pods_and_resumes_from_its_floor(self):
        self.edit({"suspend": True})
        eventually("no pod is left", 90, lambda: not get_all("pods", "-n", NAMESPACE, "-l", "tidegate.dev/pipeline"))
        eventually(
            "the status says Suspended", 30,
            lambda: kube.condition(self.pipeline(), "Ready") == ("False", "Suspended"),
        )  # fmt: skip
        rows, published = table.rows(documents.TABLE), self.flow.records()
        eventually("a part is published meanwhile", 60, lambda: self.flow.records() > published)
        expect(table.rows(documents.TABLE) == rows, "rows arrived at a suspended pipeline")
        self.edit({"suspend": False})
        self.becomes_ready()
        self.catches_up()

    def an_idle_pipeline_scales_to_zero_and_back(self):
        self.flow.stop()
        self.edit({"scaling": {"minReplicas": 0}})
        eventually("no worker is left", 120, lambda: not self.pods(WORKERS))
        expect(table.rows(documents.TABLE) == self.flow.records(), f"{table.rows(documents.TABLE)} rows instead of {self.flow.records()}")
        self.becomes_ready()
        self.flow.start()
        eventually("a worker is ready", 90, lambda: self.ready_pods(WORKERS))
        self.flow.stop()
        self.catches_up()

    def verify_as_a_job_proves_that_nothing_is_missing_or_doubled(self):
        eventually("nothing waits", 120, lambda: self.pipeline()["status"]["lag"]["messages"] == 0)
        kube.apply(documents.verifying_job())
        kubectl("-n", NAMESPACE, "wait", "job/verify", "--for=condition=complete", "--timeout=120s")

    def other_engines_find_every_id_exactly_once(self):
        wanted = flow.ids(self.flow.parts)
        for engine in sorted(table.ENGINES):
            seen = table.seen_by(engine, documents.TABLE)
            expect(seen["ids"] == wanted, f"{engine} sees {seen['rows']} rows of {len(wanted)}")
            expect(seen["dead_letters"]["rows"] == 0, f"{engine} sees dead letters")

    def a_deleted_pipeline_leaves_nothing_behind(self):
        self.edit({"deletionPolicy": {"stream": "Delete", "data": "Delete"}})
        # The finalizer comes with the operator's look at the edit.
        self.becomes_ready()
        expect(self.streams() == ["FLIGHTS"], f"streams before: {self.streams()}")
        kubectl("-n", NAMESPACE, "delete", "ingestionpipeline", PIPELINE, "--timeout=120s")
        eventually("no object is left", 60, lambda: not self.objects())
        left = table.objects(documents.TABLE)
        expect(not left, f"the store still has {left[:5]}")
        expect(not self.streams(), f"the broker still has {self.streams()}")

    def streams(self):
        """The streams of the broker, as its own monitoring lists them."""
        with kube.forwarded("services", "service/nats", 8222) as monitor:
            with urllib.request.urlopen(f"{monitor}/jsz?streams=1", timeout=10) as answer:
                accounts = json.load(answer)["account_details"]
        return [stream["name"] for account in accounts for stream in account.get("stream_detail", [])]

    def objects(self):
        """Everything in the namespace that carries the pipeline's label."""
        kinds = (
            "pods,statefulsets,controllerrevisions,deployments,replicasets,services,configmaps,serviceaccounts,"
            "poddisruptionbudgets,networkpolicies,jobs,endpointslices"
        )
        found = get_all(kinds, "-n", NAMESPACE, "-l", f"tidegate.dev/pipeline={PIPELINE}")
        return [f"{thing['kind']}/{thing['metadata']['name']}" for thing in found]

    def helm_uninstalls_all_but_the_definitions(self):
        kube.helm("uninstall", "tidegate", "--namespace", OPERATOR_NAMESPACE, "--wait")
        kube.helm("uninstall", "tidegate-crds", "--namespace", OPERATOR_NAMESPACE)
        for kind in ("ingestionpipelines", "ingestionruns"):
            expect(get("crd", f"{kind}.tidegate.dev"), f"the definition of {kind} is gone")
        named = [thing for thing in get_all("clusterroles,clusterrolebindings") if "tidegate" in thing["metadata"]["name"]]
        expect(not named, f"left: {[thing['metadata']['name'] for thing in named]}")

    def no_pod_was_restarted_or_killed_without_being_told_to(self):
        accusations = self.witness.accusations()
        expect(not accusations, "; ".join(accusations))

    def no_secret_shows_in_logs_events_or_status(self):
        texts = {log.name: log.read_text(errors="replace") for log in (kube.OUTPUT / "logs").iterdir()}
        texts["events"] = kubectl("get", "events", "-A", "-o", "json")
        for canary in documents.CANARIES.values():
            showing = [name for name, text in texts.items() if canary in text]
            expect(not showing, f"a secret shows in {showing}")

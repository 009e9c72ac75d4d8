"""What is applied: examples/flights for a cluster, secrets, and the Jobs that run our image beside it."""

import secrets

import yaml

import kube

NAMESPACE = "flights"
OPERATOR_NAMESPACE = "tidegate-system"
PIPELINE = "flights"
IMAGE = "tidegate:e2e"
NEXT_IMAGE = "tidegate:e2e-next"
PUBLISHER_IMAGE = "tidegate-e2e/publisher:test"
TABLE = "s3://lake/flights"
ACCESS_KEY = "flights"
# No log, Event or status may ever show one of these.
CANARIES = {name: f"canary-{secrets.token_hex(8)}" for name in ("worker", "admin", "store", "database")}


def namespace(name, restricted=True):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def secret(name, of, **values):
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": of},
        "stringData": values,
    }  # fmt: skip


def service_secrets():
    """What broker and store are told."""
    yield secret("nats", "services", worker=CANARIES["worker"], admin=CANARIES["admin"])
    yield secret("s3", "services", AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=CANARIES["store"])
    yield secret("postgres", "services", password=CANARIES["database"])


def pipeline_secrets():
    """What the pipeline is told."""
    yield secret("nats-worker", NAMESPACE, username="worker", password=CANARIES["worker"])
    yield secret("nats-admin", NAMESPACE, username="admin", password=CANARIES["admin"])
    yield secret("lake", NAMESPACE, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=CANARIES["store"])
    yield secret(
        "orders-db", NAMESPACE, host="postgres.services", port="5432", user="postgres", database="postgres",
        password=CANARIES["database"],
    )  # fmt: skip


def storage():
    """How pipelines reach the store."""
    return {
        "secretRef": {"name": "lake"},
        "s3": {"endpoint": "http://s3.services:8333", "region": "us-east-1", "addressingStyle": "Path"},
    }


def pipeline():
    """examples/flights with the addresses of this cluster, and with more than one worker."""
    document = yaml.safe_load((kube.ROOT / "examples/flights/pipeline.yaml").read_text())
    document["metadata"]["namespace"] = NAMESPACE
    spec = document["spec"]
    spec["source"]["jetStream"] |= {
        "servers": ["nats://nats.services:4222"],
        "credentials": {"secretRef": {"name": "nats-worker"}},
        "adminCredentials": {"secretRef": {"name": "nats-admin"}},
        # An id carries its carrier, and so does the subject.
        "partitioning": {"type": "Subject", "partitions": 4, "idSubjectStable": True},
    }
    spec["sink"]["storage"] = {"url": TABLE, **storage()}
    spec["sink"]["flush"] = {"maxInterval": "2s"}
    spec["scaling"] = {"mode": "Lag", "minReplicas": 2, "maxReplicas": 4, "cooldownPeriod": "10s"}
    spec["template"] = {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}}}
    return document


def pipeline_config_map():
    """The document as a file, for Jobs."""
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pipeline", "namespace": NAMESPACE},
        "data": {"flights.yaml": yaml.safe_dump(pipeline())},
    }  # fmt: skip


def job(name, image, *arguments):
    """Runs our image once, as the namespace's Pod Security wants it."""
    mounts = {"pipeline": "/etc/pipeline", **{each: f"/etc/tidegate/secrets/{each}" for each in SECRETS}}
    volumes = [{"name": "pipeline", "configMap": {"name": "pipeline"}}]
    volumes += [{"name": each, "secret": {"secretName": each}} for each in SECRETS]
    files = ["-f", "/etc/pipeline/flights.yaml", "--secrets-dir", "/etc/tidegate/secrets"]
    container = {
        "name": "tidegate",
        "image": image,
        "args": [arguments[0], *files, *arguments[1:]],
        "volumeMounts": [{"name": each, "mountPath": path} for each, path in mounts.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backoffLimit": 10, "template": {"metadata": {"labels": {"app": name}}, "spec": pod}},
    }  # fmt: skip


SECRETS = ("nats-worker", "nats-admin", "lake")


def publishing_job(name, file, rate):
    return job(
        name, PUBLISHER_IMAGE, "publish", "--subject", "flights.{carrier}", "--id-field", "id",
        "--input", file, "--rate", str(rate),
    )  # fmt: skip


def verifying_job():
    document = job("verify", IMAGE, "verify", "--source")
    document["spec"]["backoffLimit"] = 0
    return document

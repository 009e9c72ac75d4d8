"""Rendering the chart, and what several tests ask of it."""

import os
import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tidegate"
CRDS_CHART = ROOT / "charts" / "tidegate-crds"
HELM = os.environ.get("HELM", "helm")
# helm itself guesses an old version when no cluster is asked.
KUBERNETES = "1.34.0"
NAMESPACE = "tidegate-system"
# Kinds of the Prometheus operator, whose schemas Kubernetes does not have.
FOREIGN_KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


class Refused(Exception):
    """helm did not render; the text is its own."""


def helm(*arguments, check=True):
    """Runs helm; the answer is what it printed."""
    done = subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise Refused(done.stderr or done.stdout)
    return done.stdout


def render(values=None, chart=CHART, release="tidegate", namespace=NAMESPACE):
    """The documents of a release."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values or {}, file)
        file.flush()
        text = helm("template", release, chart, "--namespace", namespace,
                    "--kube-version", KUBERNETES, "--values", file.name)
    return [document for document in yaml.load_all(text, Loader=StrictLoader) if document]


class StrictLoader(yaml.CSafeLoader):
    """YAML where a key that stands twice is a fault and not the last one's victory."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def the(documents, kind):
    """The only document of a kind."""
    found = of_kind(documents, kind)
    assert len(found) == 1, f"{len(found)} documents of kind {kind}"
    return found[0]


def name_of(document):
    namespace = document["metadata"].get("namespace", "")
    return f"{document['kind']} {namespace}/{document['metadata']['name']}"


def container(documents):
    """The operator's container."""
    containers = the(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert len(containers) == 1
    return containers[0]

"""What comes out of the chart: valid documents, consistent labels, pods that `restricted` lets through."""

import os
import subprocess
import tomllib
import unittest

import kubernetes_validate
import yaml

from chart import (CHART, CRDS_CHART, FOREIGN_KINDS, KUBERNETES, NAMESPACE, ROOT, container, helm,
                   name_of, of_kind, render, the)
from matrix import MATRIX, for_each_release, releases

SCHEMAS = ["1.33", "1.34"]


class Rendered(unittest.TestCase):
    def test_lint_has_nothing_to_say(self):
        for chart in [CHART, CRDS_CHART]:
            helm("lint", "--strict", "--kube-version", KUBERNETES, chart)

    @for_each_release
    def test_every_document_fits_the_schemas_of_kubernetes(self, _, documents):
        for document in documents:
            if document["kind"] not in FOREIGN_KINDS:
                for version in SCHEMAS:
                    kubernetes_validate.validate(document, version, strict=True)

    def test_the_definitions_fit_the_schemas_and_stay_when_the_chart_goes(self):
        documents = render(chart=CRDS_CHART)
        for document in documents:
            self.assertEqual(document["kind"], "CustomResourceDefinition")
            self.assertEqual(document["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
            for version in SCHEMAS:
                kubernetes_validate.validate(document, version, strict=True)
        self.assertTrue(documents)

    def test_the_schemas_notice_a_misspelt_field(self):
        # Else the test above could not fail.
        document = the(releases()["defaults"], "Deployment")
        document = {**document, "spec": {**document["spec"], "replica": 1}}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document, SCHEMAS[0], strict=True)

    @for_each_release
    def test_the_kinds_of_prometheus_look_as_they_should(self, _, documents):
        for document in of_kind(documents, *FOREIGN_KINDS):
            self.assertEqual(document["apiVersion"], "monitoring.coreos.com/v1")
            self.assertTrue(document["spec"])

    @for_each_release
    def test_no_two_documents_have_the_same_name(self, _, documents):
        names = [name_of(document) for document in documents]
        self.assertEqual(len(names), len(set(names)), names)

    @for_each_release
    def test_every_document_carries_our_labels_whatever_the_values_say(self, _, documents):
        for document in documents:
            labels = document["metadata"]["labels"]
            self.assertEqual(labels["app.kubernetes.io/name"], "tidegate", name_of(document))
            self.assertEqual(labels["app.kubernetes.io/component"], "operator")
            self.assertEqual(labels["app.kubernetes.io/instance"], "tidegate")
            self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")

    def test_common_labels_and_annotations_reach_every_document(self):
        for document in releases()["decorated"]:
            self.assertEqual(document["metadata"]["labels"]["team"], "data", name_of(document))
            self.assertEqual(document["metadata"]["annotations"]["example.org/owner"],
                             "data@example.org", name_of(document))

    @for_each_release
    def test_every_selector_finds_the_operators_pods(self, _, documents):
        deployment = the(documents, "Deployment")
        pod = deployment["spec"]["template"]["metadata"]["labels"].items()
        selectors = [deployment["spec"]["selector"]["matchLabels"],
                     the(documents, "Service")["spec"]["selector"]]
        selectors += [budget["spec"]["selector"]["matchLabels"]
                      for budget in of_kind(documents, "PodDisruptionBudget")]
        selectors += [policy["spec"]["podSelector"]["matchLabels"]
                      for policy in of_kind(documents, "NetworkPolicy")]
        for selector in selectors:
            self.assertEqual(len(selector), 3)
            self.assertLessEqual(selector.items(), pod)
        for monitor in of_kind(documents, "ServiceMonitor"):
            service = the(documents, "Service")["metadata"]["labels"].items()
            self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service)

    @for_each_release
    def test_pipelines_are_told_which_pods_the_operator_is(self, _, documents):
        told = dict(flag.removeprefix("--operator-label=").split("=", 1)
                    for flag in container(documents)["args"]
                    if flag.startswith("--operator-label="))
        self.assertEqual(told, the(documents, "Deployment")["spec"]["selector"]["matchLabels"])

    @for_each_release
    def test_pods_are_as_restricted_wants_them(self, _, documents):
        pod = the(documents, "Deployment")["spec"]["template"]["spec"]
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse(pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "volumes"})
        self.assertEqual(container(documents)["securityContext"], {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]}})

    @for_each_release
    def test_every_namespaced_document_says_where_it_stands(self, name, documents):
        allowed = {NAMESPACE, *MATRIX[name].get("watchNamespaces", [])}
        for document in documents:
            if not document["kind"].startswith("Cluster"):
                self.assertIn(document["metadata"].get("namespace"), allowed, name_of(document))

    def test_names_follow_the_release_and_stay_short(self):
        names = {release: the(render(release=release), "Deployment")["metadata"]["name"]
                 for release in ["tidegate", "my-tidegate", "ingest", "r" * 53]}
        self.assertEqual(names["tidegate"], "tidegate")
        self.assertEqual(names["my-tidegate"], "my-tidegate")
        self.assertEqual(names["ingest"], "ingest-tidegate")
        self.assertEqual(len(names["r" * 53]), 50)
        self.assertEqual(the(releases()["another name"], "Deployment")["metadata"]["name"], "ingest")

    def test_two_releases_share_no_object(self):
        first, second = render(release="one"), render(release="two", namespace="other")
        self.assertFalse({*map(name_of, first)} & {*map(name_of, second)})

    def test_the_image_is_the_same_for_the_operator_and_for_pipelines(self):
        images = {}
        for name, documents in releases().items():
            operator = container(documents)
            images[name] = operator["image"]
            self.assertIn(f"--image={operator['image']}", operator["args"])
            self.assertIn(f"--image-pull-policy={operator['imagePullPolicy']}", operator["args"])
        self.assertEqual(images["image by tag"], "tidegate:v9")
        self.assertEqual(images["image by digest"],
                         "registry.example:5000/data/tidegate@sha256:" + "0a" * 32)

    def test_the_release_is_that_of_the_workspace(self):
        workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        for chart in [CHART, CRDS_CHART]:
            about = yaml.safe_load((chart / "Chart.yaml").read_text())
            self.assertEqual((about["version"], about["appVersion"]), (workspace, workspace), chart)

    def test_a_constraint_with_its_own_selector_keeps_it(self):
        spread = the(releases()["scheduling"], "Deployment")["spec"]["template"]["spec"][
            "topologySpreadConstraints"]
        self.assertEqual(spread[0]["labelSelector"], {"matchLabels": {"mine": "yes"}})
        spread = the(releases()["defaults"], "Deployment")["spec"]["template"]["spec"][
            "topologySpreadConstraints"]
        self.assertEqual(spread[0]["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"],
                         "tidegate")


class Flags(unittest.TestCase):
    # Logs are JSON where there is no terminal; an operator without Lease is for tests.
    LEFT_OUT = {"--help", "--version", "--log-format", "--no-leader-election"}

    @classmethod
    def setUpClass(cls):
        binary = os.environ.get("TIDEGATE_BIN", "")
        if not os.path.exists(binary):
            raise unittest.SkipTest("needs the tidegate binary: TIDEGATE_BIN")
        text = subprocess.run([binary, "operator", "--help"], capture_output=True, text=True,
                              check=True).stdout
        cls.known = {word.strip(",") for line in text.splitlines() if line.strip().startswith("-")
                     for word in line.split() if word.startswith("--")}
        cls.binary = binary

    def used(self, values):
        return {flag.split("=", 1)[0] for flag in container(render(values))["args"][1:]}

    def test_the_operator_knows_every_flag_that_the_chart_sets(self):
        for name, values in MATRIX.items():
            with self.subTest(values=name):
                self.assertLessEqual(self.used(values), self.known)

    def test_the_chart_sets_every_flag_that_the_operator_knows(self):
        used = set().union(*(self.used(values) for values in MATRIX.values()))
        self.assertEqual(self.known - used - self.LEFT_OUT, set())

    def test_the_operator_accepts_what_the_chart_writes(self):
        for name, values in MATRIX.items():
            with self.subTest(values=name):
                arguments = container(render(values))["args"]
                # Arguments are read before a cluster is looked for; there is none.
                done = subprocess.run([self.binary, *arguments], capture_output=True, text=True,
                                      timeout=30, env={"KUBECONFIG": "/nonexistent", "HOME": "/"})
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn("For more information, try '--help'", done.stderr)

"""What the operator may do: no more than docs/security.md says, whatever the values."""

import re
import unittest

from chart import NAMESPACE, ROOT, name_of, of_kind, render, the
from matrix import MATRIX, for_each_release, releases

FORBIDDEN_VERBS = {"*", "escalate", "bind", "impersonate", "deletecollection"}
FORBIDDEN_RESOURCES = {"*", "secrets", "pods/exec", "pods/attach", "pods/portforward", "nodes",
                       "nodes/proxy", "serviceaccounts/token", "roles", "rolebindings", "clusterroles",
                       "clusterrolebindings", "certificatesigningrequests",
                       "mutatingwebhookconfigurations", "validatingwebhookconfigurations"}


def rules(documents):
    for role in of_kind(documents, "Role", "ClusterRole"):
        for rule in role["rules"]:
            yield role, rule


def grants(role):
    """A role as the set of what it allows."""
    return {(group, resource, verb, name)
            for rule in role["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
            for verb in rule["verbs"] for name in rule.get("resourceNames", [""])}


def documented():
    """The table of docs/security.md, as the same set."""
    text = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `([^`]*)` \| ([^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    granted = set()
    for group, resources, verbs in rows:
        limited = re.search(r"named `([^`]+)`", resources)
        words = [word for word in re.findall(r"`([^`]+)`", resources)
                 if not limited or word != limited[1]]
        for resource in words:
            for verb in re.findall(r"[a-z]+", verbs):
                granted.add(("" if group == "core" else group, resource, verb,
                             limited[1] if limited else ""))
    return granted


class Roles(unittest.TestCase):
    @for_each_release
    def test_no_rule_reads_secrets_or_opens_a_way_to_more(self, _, documents):
        for role, rule in rules(documents):
            self.assertNotIn("nonResourceURLs", rule, name_of(role))
            self.assertNotIn("*", rule["apiGroups"], name_of(role))
            self.assertFalse(FORBIDDEN_RESOURCES & {*rule["resources"]}, name_of(role))
            for_people = any(label.startswith("rbac.authorization.k8s.io/aggregate-to-admin")
                             for label in role["metadata"]["labels"])
            forbidden = FORBIDDEN_VERBS - ({"deletecollection"} if for_people else set())
            self.assertFalse(forbidden & {*rule["verbs"]}, name_of(role))

    @for_each_release
    def test_roles_for_people_speak_of_our_kinds_only(self, _, documents):
        for role, rule in rules(documents):
            if "aggregate" in " ".join(role["metadata"]["labels"]):
                self.assertEqual(rule["apiGroups"], ["tidegate.dev"], name_of(role))
                self.assertFalse({*rule["verbs"]} & {"update", "patch", "create"}
                                 and "ingestionpipelines/status" in rule["resources"])

    def test_nobody_who_only_looks_may_change_anything(self):
        view = next(role for role in of_kind(releases()["defaults"], "ClusterRole")
                    if role["metadata"]["name"] == "tidegate-view")
        self.assertEqual({verb for _, _, verb, _ in grants(view)}, {"get", "list", "watch"})

    @for_each_release
    def test_a_list_of_namespaces_grants_nothing_elsewhere(self, name, documents):
        namespaces = MATRIX[name].get("watchNamespaces")
        if namespaces and MATRIX[name].get("rbac", {}).get("create", True):
            self.assertFalse(of_kind(documents, "ClusterRoleBinding"))
            bound = {binding["metadata"]["namespace"] for binding in of_kind(documents, "RoleBinding")}
            self.assertEqual(bound, {NAMESPACE, *namespaces})

    def test_the_same_is_granted_in_a_namespace_as_in_the_cluster(self):
        wide = next(role for role in of_kind(releases()["defaults"], "ClusterRole")
                    if role["metadata"]["name"] == "tidegate")
        narrow = next(role for role in of_kind(releases()["one namespace"], "Role")
                      if role["metadata"]["namespace"] == "analytics")
        self.assertEqual(grants(wide), grants(narrow))

    def test_without_rbac_there_is_no_role_of_the_operator(self):
        documents = releases()["account of somebody else"]
        self.assertFalse(of_kind(documents, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
                                 "ServiceAccount"))

    @for_each_release
    def test_every_binding_is_to_the_account_that_the_pods_use(self, _, documents):
        account = the(documents, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        roles = {(role["kind"], role["metadata"]["name"]) for role, _ in rules(documents)}
        for binding in of_kind(documents, "RoleBinding", "ClusterRoleBinding"):
            self.assertEqual(binding["subjects"], [
                {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}])
            self.assertIn((binding["roleRef"]["kind"], binding["roleRef"]["name"]), roles)

    def test_the_security_page_lists_exactly_what_is_granted(self):
        documents = releases()["defaults"]
        granted = set()
        for role in of_kind(documents, "Role", "ClusterRole"):
            if role["metadata"]["name"] in ["tidegate", "tidegate-leader"]:
                granted |= grants(role)
        self.assertEqual(documented(), granted)

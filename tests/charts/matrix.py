"""The values that every test of rendered documents goes through: each choice once, and together where
they meet."""

import functools

from chart import render

MONITORING = {
    "scraperNamespaceLabels": {"kubernetes.io/metadata.name": "monitoring"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podMonitor": {"enabled": True, "interval": "1m", "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "alertLabels": {"team": "data"},
                       "runbookBaseUrl": "https://runbooks.example/tidegate/"},
    "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Data"}},
}

SCHEDULING = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [
            {"key": "pool", "operator": "In", "values": ["system"]}]}]}}},
    "priorityClassName": "system-cluster-critical",
    "topologySpreadConstraints": [{
        "maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"mine": "yes"}}}],
}

PROXY_AND_CA = {"pipelines": {
    "log": "warn,tidegate_worker=debug",
    "proxy": {"http": "http://proxy.example:3128", "https": "http://proxy.example:3128",
              "noProxy": "10.0.0.0/8,.svc,.cluster.local"},
    "privateCA": {"configMapName": "company-ca"},
}}

DECORATED = {
    "commonLabels": {"team": "data", "app.kubernetes.io/name": "not-ours"},
    "commonAnnotations": {"example.org/owner": "data@example.org"},
    "podLabels": {"sidecar.example/inject": "false", "app.kubernetes.io/component": "not-ours"},
    "podAnnotations": {"example.org/log": "json"},
    "serviceAccount": {"annotations": {"example.org/role": "reader"}},
    "service": {"annotations": {"example.org/scrape": "true"}},
}


def identity(choice):
    return {"pipelines": {"cloudIdentity": choice}}


MATRIX = {
    "defaults": {},
    "one namespace": {"watchNamespaces": ["analytics"]},
    "three namespaces": {"watchNamespaces": ["analytics", "billing", "tidegate-system"]},
    "monitoring, cluster-wide": {"monitoring": MONITORING},
    "monitoring, two namespaces": {"monitoring": MONITORING,
                                   "watchNamespaces": ["analytics", "billing"]},
    "some alerts left out": {"monitoring": {"prometheusRule": {
        "enabled": True, "disabledAlerts": ["TidegateDeadLetters"]}}},
    "keys in secrets": identity("None"),
    "identity IRSA": identity("IRSA"),
    "identity EKSPodIdentity": identity("EKSPodIdentity"),
    "identity GKE": identity("GKE"),
    "identity Azure": identity("Azure"),
    "proxy and private authorities": PROXY_AND_CA,
    "image by digest": {"image": {"repository": "registry.example:5000/data/tidegate",
                                  "digest": "sha256:" + "0a" * 32, "pullPolicy": "Always"},
                        "imagePullSecrets": [{"name": "pull"}]},
    "image by tag": {"image": {"tag": "v9", "pullPolicy": "Never"}},
    "scheduling": SCHEDULING,
    "decorated": DECORATED,
    "account of somebody else": {"serviceAccount": {"create": False, "name": "prepared"},
                                 "rbac": {"create": False, "aggregatedRoles": False}},
    "account of somebody else, roles of ours": {"serviceAccount": {"create": False}},
    "single replica, nothing around it": {"replicaCount": 1, "podDisruptionBudget": {"enabled": False},
                                          "networkPolicy": {"enabled": False},
                                          "topologySpreadConstraints": []},
    "five replicas": {"replicaCount": 5, "podDisruptionBudget": {"maxUnavailable": "40%"}},
    "known API server": {"networkPolicy": {"apiServer": {"cidrs": ["10.1.0.1/32", "fd00::1/128"],
                                                         "ports": [16443]}}},
    "IPv6": {"operator": {"listenAddress": "[::]"}},
    "another name": {"fullnameOverride": "ingest"},
    "busy": {"operator": {"maxConcurrentRollouts": 50, "maxConcurrentReconciles": 64,
                          "pollInterval": "1m", "log": "debug"},
             "resources": {"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "1Gi"}}},
    "everything": {**DECORATED, **SCHEDULING, **PROXY_AND_CA, "monitoring": MONITORING,
                   "watchNamespaces": ["analytics"]},
}


@functools.cache
def releases():
    """The documents of each of them, rendered once."""
    return {name: render(values) for name, values in MATRIX.items()}


def for_each_release(test):
    """Makes of `test(self, name, documents)` a test over the whole matrix."""
    @functools.wraps(test)
    def run(self):
        for name, documents in releases().items():
            with self.subTest(values=name):
                test(self, name, documents)
    return run

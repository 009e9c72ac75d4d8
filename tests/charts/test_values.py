"""values.yaml: each value is used, explained, and guarded by the schema."""

import json
import re
import unittest

import yaml

from chart import CHART, Refused, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
TEMPLATES = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))


def paths(values, prefix=()):
    """Every value that is no filled map, by its path."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from paths(value, (*prefix, key))
        else:
            yield (*prefix, key)


def resolved(schema):
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rsplit("/", 1)[1]] if reference else schema


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


class Values(unittest.TestCase):
    def test_every_value_is_used_by_a_template(self):
        for path in paths(VALUES):
            with self.subTest(value=".".join(path)):
                wholes = [".".join(path[:length]) for length in range(1, len(path) + 1)]
                self.assertTrue(any(re.search(rf"\.Values\.{re.escape(whole)}(?![\w.])", TEMPLATES)
                                    for whole in wholes))

    def test_every_value_that_a_template_uses_stands_in_the_file(self):
        for used in set(re.findall(r"\.Values\.([\w.]+)", TEMPLATES)):
            with self.subTest(value=used):
                found = VALUES
                for key in used.split("."):
                    self.assertIn(key, found)
                    found = found[key]

    def test_every_value_has_a_comment_right_above_it(self):
        lines = (CHART / "values.yaml").read_text().splitlines()

        def look(node):
            for key, value in node.value:
                above = lines[key.start_mark.line - 1].strip()
                with self.subTest(value=key.value, line=key.start_mark.line + 1):
                    self.assertTrue(above.startswith("# "), above)
                if isinstance(value, yaml.MappingNode):
                    look(value)

        look(yaml.compose((CHART / "values.yaml").read_text()))

    def test_schema_and_values_name_the_same_things(self):
        def compare(schema, values, path):
            schema = resolved(schema)
            if "properties" not in schema:
                return
            self.assertIs(schema["additionalProperties"], False, path)
            known = {*schema["properties"]} - ({"global"} if not path else set())
            self.assertEqual(known, {*values}, path)
            for key, value in values.items():
                if isinstance(value, dict):
                    compare(schema["properties"][key], value, (*path, key))

        compare(SCHEMA, VALUES, ())

    def test_a_misspelt_name_is_refused_at_every_level(self):
        def maps(values, path=()):
            if "properties" in resolved(self.schema_at(path)):
                yield path
                for key, value in values.items():
                    if isinstance(value, dict):
                        yield from maps(value, (*path, key))

        levels = list(maps(VALUES))
        self.assertGreater(len(levels), 15)
        for path in levels:
            with self.subTest(level=".".join(path)):
                with self.assertRaisesRegex(Refused, "misspelt"):
                    render(nested(path, {"misspelt": 1}))

    def schema_at(self, path):
        schema = SCHEMA
        for key in path:
            schema = resolved(schema)["properties"][key]
        return schema

    def test_values_that_cannot_be_meant_are_refused(self):
        for path, value in [
            ("replicaCount", "two"), ("replicaCount", -1), ("image.pullPolicy", "Sometimes"),
            ("image.digest", "sha256:short"), ("image.repository", "tidegate:latest"),
            ("image.repository", ""), ("watchNamespaces", "analytics"),
            ("watchNamespaces", ["a", "a"]), ("watchNamespaces", ["*"]),
            ("watchNamespaces", ["Upper"]), ("pipelines.cloudIdentity", "irsa"),
            ("pipelines.proxy.https", "proxy:3128"),
            ("pipelines.proxy.https", "http://user:password@proxy:3128"),
            ("pipelines.privateCA.configMapName", "No_Name"), ("operator.pollInterval", "10"),
            ("operator.pollInterval", "0s"), ("operator.maxConcurrentRollouts", 0),
            ("operator.listenAddress", "127.0.0.1"), ("networkPolicy.apiServer.ports", []),
            ("networkPolicy.apiServer.ports", [70000]), ("networkPolicy.apiServer.cidrs", ["10.0.0.1"]),
            ("monitoring.prometheusRule.runbookBaseUrl", "runbooks"),
            ("monitoring.serviceMonitor.enabled", "yes"), ("podDisruptionBudget.maxUnavailable", 0),
            ("commonLabels", {"team": 1}), ("fullnameOverride", "Upper"),
            ("serviceAccount.annotations", {"a": {"b": "c"}}), ("imagePullSecrets", ["pull"]),
        ]:
            with self.subTest(value=f"{path}={value!r}"):
                with self.assertRaises(Refused):
                    render(nested(path.split("."), value))

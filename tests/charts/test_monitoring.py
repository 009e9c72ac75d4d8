"""Alerts, their runbooks and the dashboards: what they speak of exists, and they do what they say."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import yaml

from chart import CHART, ROOT, of_kind, render, the
from matrix import MATRIX, releases

PROMTOOL = os.environ.get("PROMTOOL", "promtool")
RULES = CHART / "rules" / "tidegate.yaml"
ALERT_TESTS = ROOT / "tests" / "charts" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
DASHBOARDS = {path.name: json.loads(path.read_text())
              for path in sorted((CHART / "dashboards").glob("*.json"))}
# Where metrics get their names.
SOURCES = ["crates/tidegate-telemetry/src/families.rs", "crates/tidegate-telemetry/src/agent_metrics.rs",
           *(f"crates/tidegate-operator/src/metrics/{file}.rs" for file in ["mod", "pipelines", "runs"])]
SEVERITIES = {"critical", "warning", "info"}


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments):
    if shutil.which(PROMTOOL) is None:
        raise unittest.SkipTest("needs promtool")
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def check_rules(groups):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": groups}, file)
        file.flush()
        promtool("check", "rules", file.name)


def series_of(source):
    """The names under which a file's families are scraped."""
    text = (ROOT / source).read_text().split("#[cfg(test)]")[0]
    # Fields of the struct, which stands before the code that fills it.
    types = {}
    for field, rust in re.findall(r"^\s+(?:pub\(crate\) )?(\w+): ([A-Z].*),$", text, re.MULTILINE):
        types.setdefault(field, rust)
    found = [(name, kind, types[field]) for field, kind, name
             in re.findall(r'(\w+):\s*add\s*\.(\w+)\(\s*"(tidegate_\w+)"', text)]
    found += [(name, "", types[field]) for name, field
              in re.findall(r'register\(\s*"(tidegate_\w+)",[^;]*?self\.(\w+)\.clone\(\)', text)]
    for name, kind, rust in found:
        name += "_seconds" if kind == "seconds" else ""
        if "Counter" in rust:
            yield f"{name}_total"
        elif "Histogram" in rust:
            yield from (f"{name}_{part}" for part in ["bucket", "sum", "count"])
        else:
            yield name


def existing():
    return {series for source in SOURCES for series in series_of(source)}


def used(expression):
    return set(re.findall(r"\btidegate_\w+", expression))


def panels(items):
    for panel in items:
        yield panel
        yield from panels(panel.get("panels", []))


def dashboard_expressions():
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard["panels"]):
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]


class Alerts(unittest.TestCase):
    def test_the_rules_are_valid(self):
        promtool("check", "rules", RULES)

    def test_every_alert_does_what_its_test_says(self):
        promtool("test", "rules", ALERT_TESTS)

    def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(self):
        cases = [case for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]
                 for case in test["alert_rule_test"]]
        names = {rule["alert"] for rule in alerts()}
        self.assertEqual({case["alertname"] for case in cases if case["exp_alerts"]}, names)
        self.assertEqual({case["alertname"] for case in cases if not case["exp_alerts"]}, names)

    def test_every_alert_says_how_bad_it_is_and_what_it_means(self):
        for rule in alerts():
            with self.subTest(alert=rule["alert"]):
                self.assertIn(rule["labels"]["severity"], SEVERITIES)
                self.assertEqual({*rule["annotations"]}, {"summary", "description", "runbook_url"})
                self.assertTrue(rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md"))

    def test_every_alert_has_a_page_and_every_page_an_alert(self):
        pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
        self.assertEqual(pages, {rule["alert"] for rule in alerts()})
        index = (RUNBOOKS / "README.md").read_text()
        for rule in alerts():
            text = (RUNBOOKS / f"{rule['alert']}.md").read_text()
            with self.subTest(page=rule["alert"]):
                self.assertEqual(text.splitlines()[0], f"# {rule['alert']}")
                sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
                self.assertEqual(sections, ["What it means", "What to look at", "What to do"])
                self.assertIn("kubectl", text)
                self.assertIn(f"`{rule['labels']['severity']}`", text)
                self.assertRegex(index, rf"\[{rule['alert']}\]\({rule['alert']}\.md\).*{rule['labels']['severity']}")

    def test_links_between_the_pages_lead_somewhere(self):
        for page in [*RUNBOOKS.glob("*.md"), *(ROOT / "docs" / name for name in
                     ["install.md", "operations.md", "security.md"])]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                with self.subTest(page=page.name, link=target):
                    self.assertTrue((page.parent / target).exists())

    def test_reasons_that_pages_and_rules_name_exist(self):
        reasons = set(re.findall(r"^    ([A-Z]\w+),$",
                                 (ROOT / "crates/tidegate-types/src/reason.rs").read_text(), re.MULTILINE))
        self.assertGreater(len(reasons), 50)
        for rule in alerts():
            for named in re.findall(r'reason=~?"([^"]+)"', rule["expr"]):
                self.assertLessEqual({*named.split("|")}, reasons)
        for page in RUNBOOKS.glob("*.md"):
            # Rows of the tables of reasons.
            for named in re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", page.read_text(), re.MULTILINE):
                with self.subTest(page=page.name):
                    self.assertIn(named, reasons)

    def test_a_page_says_what_to_do_for_every_reason_that_keeps_a_pipeline_from_its_work(self):
        text = (ROOT / "crates/tidegate-operator/src/status/outlook.rs").read_text()
        lists = re.findall(r"^const (\w+): \[Reason; \d+\] = \[(.*?)^\];", text, re.MULTILINE | re.DOTALL)
        outlooks = {reason: outlook.capitalize() for outlook, names in lists
                    for reason in re.findall(r"Reason::(\w+)", names)}
        rows = {page: set(re.findall(r"^\| `(\w+)` \|", (RUNBOOKS / f"{page}.md").read_text(), re.MULTILINE))
                for page in ["TidegatePipelineStalled", "TidegatePipelineNotReady", "TidegateDeadLetters",
                             "TidegateRunFailed", "TidegateRunsBehind"]}
        of_runs = rows["TidegateRunFailed"] | rows["TidegateRunsBehind"]

        def having(*wanted):
            return {reason for reason, outlook in outlooks.items() if outlook in wanted}

        self.assertGreater(len(outlooks), 60)
        stalled, passing = having("Stalled"), having("Transient", "Waiting")
        self.assertLessEqual(of_runs, stalled | passing)
        self.assertEqual(rows["TidegatePipelineStalled"] | rows["TidegateDeadLetters"], stalled - of_runs)
        self.assertEqual(rows["TidegatePipelineNotReady"], passing - of_runs)

    def test_the_chart_installs_the_rules_as_they_stand(self):
        spec = the(releases()["monitoring, cluster-wide"], "PrometheusRule")["spec"]
        check_rules(spec["groups"])
        installed = {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}
        for rule in alerts():
            with self.subTest(alert=rule["alert"]):
                found = installed.pop(rule["alert"])
                self.assertEqual(found["expr"].strip(), rule["expr"].strip())
                self.assertEqual(found.get("for"), rule.get("for"))
                self.assertEqual(found["labels"], {**rule["labels"], "team": "data"})
                self.assertEqual(found["annotations"], {
                    **rule["annotations"],
                    "runbook_url": f"https://runbooks.example/tidegate/{rule['alert']}.md"})
        self.assertFalse(installed)

    def test_an_alert_can_be_left_out(self):
        left_out = MATRIX["some alerts left out"]["monitoring"]["prometheusRule"]["disabledAlerts"]
        spec = the(releases()["some alerts left out"], "PrometheusRule")["spec"]
        names = {rule["alert"] for group in spec["groups"] for rule in group["rules"]}
        self.assertEqual({rule["alert"] for rule in alerts()} - names, {*left_out})

    def test_a_group_without_alerts_is_still_valid(self):
        every = [rule["alert"] for rule in alerts()]
        spec = the(render({"monitoring": {"prometheusRule": {
            "enabled": True, "disabledAlerts": every}}}), "PrometheusRule")["spec"]
        check_rules(spec["groups"])


class Metrics(unittest.TestCase):
    def test_the_names_in_the_code_are_found(self):
        # Else the tests below could not fail, or would for no reason.
        for name in ["tidegate_rows_total", "tidegate_commit_seconds_bucket", "tidegate_lag",
                     "tidegate_throttled_seconds_total", "tidegate_pipeline_lag_seconds",
                     "tidegate_operator_reconcile_duration_seconds_bucket", "tidegate_agent_lag",
                     "tidegate_operator_api_requests_total"]:
            self.assertIn(name, existing())
        for source in SOURCES:
            text = (ROOT / source).read_text().split("#[cfg(test)]")[0]
            registered = len(re.findall(r'"tidegate_\w+"', text))
            histograms = sum(name.endswith("_bucket") for name in series_of(source))
            self.assertEqual(len(list(series_of(source))) - 2 * histograms, registered, source)

    def test_every_metric_of_a_rule_exists(self):
        for rule in alerts():
            with self.subTest(alert=rule["alert"]):
                self.assertTrue(used(rule["expr"]))
                self.assertEqual(used(rule["expr"]) - existing(), set())

    def test_every_metric_of_the_tests_of_rules_exists(self):
        series = {item["series"].split("{")[0] for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]
                  for item in test["input_series"]}
        self.assertEqual(series - existing(), set())

    def test_every_metric_of_the_dashboards_exists(self):
        for title, expression in dashboard_expressions():
            with self.subTest(panel=title):
                self.assertTrue(used(expression))
                self.assertEqual(used(expression) - existing(), set())
        for dashboard in DASHBOARDS.values():
            for variable in dashboard["templating"]["list"]:
                self.assertEqual(used(json.dumps(variable)) - existing(), set())

    def test_every_metric_of_runs_is_on_the_dashboard_of_runs(self):
        of_runs = {series for series in existing() if re.match(r"tidegate_(pipeline_)?runs?_|tidegate_runs$", series)}
        self.assertGreater(len(of_runs), 7)
        shown = {series for title, expression in dashboard_expressions() if title.startswith("runs.json")
                 for series in used(expression)}
        # Of a histogram the buckets tell.
        self.assertEqual({name for name in of_runs if not name.endswith(("_sum", "_count"))} - shown, set())

    def test_every_metric_that_a_page_names_exists(self):
        for page in [*RUNBOOKS.glob("*.md"), ROOT / "docs" / "operations.md"]:
            with self.subTest(page=page.name):
                named = set(re.findall(r"\btidegate_[a-z]\w+", page.read_text()))
                self.assertEqual(named - existing(), set())

    def test_outcomes_that_are_asked_for_exist(self):
        code = "".join((ROOT / path).read_text() for path in ["crates/tidegate-telemetry/src/labels.rs", *SOURCES])
        expressions = [rule["expr"] for rule in alerts()] + [text for _, text in dashboard_expressions()]
        for expression in expressions:
            for named in re.findall(r'(?:outcome|why|phase|kind|attempt)=~?"([^"]+)"', expression):
                for value in named.split("|"):
                    self.assertIn(f'"{value}"', code)


class Dashboard(unittest.TestCase):
    def test_every_expression_is_promql(self):
        def concrete(text):
            for name, value in {"$__rate_interval": "5m", "$__range": "1h", "$namespace": "a",
                                "$pipeline": "a/b"}.items():
                text = text.replace(name, value)
            return text
        records = [{"record": f"panel:expression:{number}", "expr": concrete(expression)}
                   for number, (_, expression) in enumerate(dashboard_expressions())]
        self.assertGreater(len(records), 15)
        check_rules([{"name": "dashboard", "rules": records}])

    def test_panels_have_a_title_an_explanation_a_unit_and_a_place_of_their_own(self):
        for name, dashboard in DASHBOARDS.items():
            taken = set()
            identifiers = [panel["id"] for panel in panels(dashboard["panels"])]
            self.assertEqual(len(identifiers), len(set(identifiers)))
            for panel in panels(dashboard["panels"]):
                with self.subTest(dashboard=name, panel=panel["title"]):
                    place = panel["gridPos"]
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                             for y in range(place["y"], place["y"] + place["h"])}
                    self.assertFalse(taken & cells)
                    taken |= cells
                    if panel["type"] != "row":
                        self.assertTrue(panel["description"])
                        self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                        self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                        self.assertTrue(panel["targets"])

    def test_they_are_told_apart(self):
        for field in ["uid", "title"]:
            self.assertEqual(len({dashboard[field] for dashboard in DASHBOARDS.values()}), len(DASHBOARDS))

    def test_the_chart_installs_them_as_they_stand(self):
        maps = of_kind(releases()["monitoring, cluster-wide"], "ConfigMap")
        installed = {name: json.loads(text) for name, text in maps[0]["data"].items()}
        self.assertEqual(installed, DASHBOARDS)
        self.assertEqual({*installed}, {"tidegate.json", "runs.json"})
        self.assertEqual(maps[0]["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(maps[0]["metadata"]["annotations"]["grafana_folder"], "Data")

    def test_nothing_is_installed_unasked(self):
        self.assertFalse(of_kind(releases()["defaults"], "ConfigMap", "ServiceMonitor", "PodMonitor",
                                 "PrometheusRule"))

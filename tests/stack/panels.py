"""Asks a real Prometheus and a real Postgres everything that dashboards, their variables and the rules ask."""

import dataclasses
import json
import pathlib
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards" / "grafana"
RULES = ROOT / "dashboards" / "prometheus" / "rules" / "driftline.yml"

# What may be empty where all is well, and why. Everything else has to have data.
MAY_BE_EMPTY = {
    ("models", "Time to a label"): "driftline reads whole tables for it every five minutes",
    ("models", "Labelled"): "as above",
    ("drift", "Expectations violated"): "the example expects nothing",
    ("drift", "Columns other than expected"): "every column is as expected",
    ("tap", "Oddities"): "the example's messages have none; the other two queries have data",
    ("tap", "Sources"): "the example reads from no broker or file",
    ("tap", "Messages that were not delivered"): "every message was delivered",
    ("training", "Labelled"): "driftline reads whole tables for it every five minutes",
}

# Selectors of rules that have no series where all is well.
MAY_HAVE_NO_SERIES = {
    'driftline_predictions_dropped_total{reason="store_behind"}': "nothing was lost that way",
    'driftline_training_runs_total{state="failed"}': "no run has failed",
}


@dataclasses.dataclass
class Answer:
    """What came of one question."""

    place: str
    kind: str
    rows: int
    problem: str = ""
    excuse: str = ""

    @property
    def is_good(self):
        return not self.problem and (self.rows > 0 or bool(self.excuse))


class Sources:
    """Where the answers come from; `variables` are what Grafana would put in."""

    def __init__(self, prometheus, psql, database, variables, minutes):
        self.prometheus, self.psql, self.database = prometheus, psql, database
        self.variables, self.minutes = variables, minutes

    def filled(self, text, *, is_sql=False):
        """The text with Grafana's variables and macros replaced, as Grafana does for one value of each variable."""
        if is_sql:
            since = f"now() - interval '{self.minutes} minutes'"
            text = re.sub(r"\$__timeFilter\(([^()]*)\)", rf"\1 between {since} and now()", text)
        text = text.replace("$__rate_interval", "1m").replace("$__interval", "15s").replace("$__range", f"{self.minutes}m")
        for name, value in self.variables.items():
            text = text.replace(f"${{{name}:sqlstring}}", f"'{value['sql']}'")
            text = text.replace(f"${{{name}}}", value["sql"])
            text = re.sub(rf"\${name}\b", lambda _: value["regex"], text)
        left = re.findall(r"\$\{?[a-z_]+", text)
        assert not left, f"{left} in {text}"
        return text

    def ask(self, path, **parameters):
        """What Prometheus says, or its error."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"], ""
        except urllib.error.HTTPError as error:
            return None, json.load(error).get("error", str(error))

    def series(self, expr, *, instant):
        """How many series have a sample."""
        query = self.filled(expr)
        if instant:
            data, problem = self.ask("query", query=query)
        else:
            now = self.now()
            data, problem = self.ask("query_range", query=query, start=now - 60 * self.minutes, end=now, step=5)
        if problem:
            return 0, problem
        has_number = [one for one in data["result"] if has_numbers(one)]
        return len(has_number), "" if len(has_number) == len(data["result"]) else "a series has no finite number"

    def now(self):
        data, _ = self.ask("query", query="time()")
        return float(data["result"][1])

    def label_values(self, query):
        """How many values a variable has."""
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        data, problem = self.ask(f"label/{match[2]}/values", **{"match[]": self.filled(match[1])})
        return (0, problem) if problem else (len(data), "")

    def rows(self, text):
        """How many rows a statement gives to the role of Grafana."""
        query = self.filled(text, is_sql=True)
        done = subprocess.run(
            [self.psql, self.database, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", f"select count(*) from ({query}) q"],
            capture_output=True, text=True, check=False)
        return (0, done.stderr.strip()) if done.returncode else (int(done.stdout), "")


def has_numbers(series):
    values = series.get("values") or [series["value"]]
    return any(value not in ("NaN", "+Inf", "-Inf") for _, value in values)


def dashboards():
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}
    assert len(found) >= 4, f"only {sorted(found)}"
    return found


def target_answers(sources, name, panel):
    """One answer per query of a panel; of a panel that may be empty each query may."""
    excuse = MAY_BE_EMPTY.get((name, panel["title"]), "")
    for target in panel["targets"]:
        place = f"{name}: {panel['title']} {target['refId']}"
        if "expr" in target:
            rows, problem = sources.series(target["expr"], instant=target.get("instant", False))
            yield Answer(place, "PromQL", rows, problem, excuse)
        else:
            rows, problem = sources.rows(target["rawSql"])
            yield Answer(place, "SQL", rows, problem, excuse)


def of_dashboards(sources):
    """Every query of every panel, variable and annotation."""
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            place = f"{name}: variable {variable['name']}"
            if isinstance(variable["query"], dict):
                yield Answer(place, "PromQL", *sources.label_values(variable["query"]["query"]))
            else:
                yield Answer(place, "SQL", *sources.rows(variable["query"]))
        for annotation in dashboard["annotations"]["list"]:
            rows, problem = sources.rows(annotation["target"]["rawSql"])
            yield Answer(f"{name}: annotation {annotation['name']}", "SQL", rows, problem)
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield from target_answers(sources, name, panel)


def of_rules(sources):
    """Every rule is evaluated, and every series that it looks at is there: rules themselves are empty when all is well."""
    data, problem = sources.ask("rules")
    assert not problem, problem
    rules = [rule for group in data["groups"] for rule in group["rules"]]
    assert len(rules) > 10, f"Prometheus has only {len(rules)} rules"
    for rule in rules:
        yield Answer(f"rule {rule['name']}", "rule", 1 if rule["health"] == "ok" else 0, rule.get("lastError", ""))
        for selector in sorted(set(re.findall(r"driftline_\w+(?:\{[^}]*\})?", rule["query"]))):
            rows, problem = sources.series(f"count({selector})", instant=False)
            yield Answer(f"rule {rule['name']}: {selector[:60]}", "PromQL", rows, problem, MAY_HAVE_NO_SERIES.get(selector, ""))


def unused_excuses():
    """Excuses of panels that are not there."""
    titles = {(name, panel["title"]) for name, dashboard in dashboards().items() for panel in dashboard["panels"]}
    return sorted(set(MAY_BE_EMPTY) - titles)

"""What the dashboards are put together from: panels, queries, variables, links; only Python's standard library."""

PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${database}"}

# Codes of verdicts, with colours that Grafana has for its light and its dark theme, and words, so that colour says nothing
# alone.
VERDICTS = [(0, "ok", "green"), (1, "drift", "red"), (2, "insufficient data", "blue"), (3, "untrusted", "orange")]
TRAFFIC_VERDICTS = [(0, "ok", "green"), (1, "worse", "red"), (2, "insufficient data", "blue"), (3, "unknown", "purple")]


def mappings(words):
    """Shows numbers as words."""
    options = {str(code): {"text": text, "color": colour, "index": i} for i, (code, text, colour) in enumerate(words)}
    return [{"type": "value", "options": options}]


def steps(*steps):
    """Colours from a value on: `steps("green", (0.5, "orange"), (1, "red"))`."""
    rest = [{"value": value, "color": colour} for value, colour in steps[1:]]
    return {"mode": "absolute", "steps": [{"value": None, "color": steps[0]}, *rest]}


def prom(expr, legend="", *, ref="A", instant=False, table=False):
    """A query to Prometheus."""
    query = {"refId": ref, "datasource": PROMETHEUS, "expr": " ".join(expr.split()), "legendFormat": legend or "__auto"}
    if instant or table:
        query |= {"instant": True, "range": False}
    if table:
        query["format"] = "table"
    return query


def sql(text, *, ref="A", series=False):
    """A query to Postgres; it may read the views of the schema `dashboard` and nothing else."""
    lines = [line.strip() for line in text.strip().splitlines()]
    form = "time_series" if series else "table"
    return {"refId": ref, "datasource": POSTGRES, "rawSql": "\n".join(lines), "rawQuery": True, "editorMode": "code",
            "format": form}


def panel(kind, title, description, *targets, w=12, h=8, unit="none", empty="no data yet", options=None, **more):
    """One panel. `more`: thresholds, mappings, min, max, decimals, custom, overrides, links, transformations."""
    defaults = {"unit": unit, "noValue": empty, "color": {"mode": more.pop("colour", "palette-classic")}}
    for key in ("thresholds", "mappings", "min", "max", "decimals", "custom", "links"):
        if key in more:
            defaults[key] = more.pop(key)
    made = {
        "type": kind, "title": title, "description": description, "gridPos": {"x": 0, "y": 0, "w": w, "h": h},
        "datasource": dict(targets[0]["datasource"]),
        "targets": [{**target, "refId": chr(ord("A") + i)} for i, target in enumerate(targets)],
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": options or {},
    }
    for key in ("transformations", "repeat", "interval"):
        if key in more:
            made[key] = more.pop(key)
    assert not more, f"{title}: {sorted(more)} mean nothing"
    return made


def lines(title, description, *targets, legend="table", fill=8, stacked=False, log=False, draw="line", **more):
    """Series over time."""
    custom = {"drawStyle": draw, "lineWidth": 1, "fillOpacity": fill, "showPoints": "never", "spanNulls": 3_600_000}
    if draw == "bars":
        custom |= {"fillOpacity": 70, "spanNulls": False}
    if stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    calcs = ["lastNotNull", "max"] if legend == "table" else []
    options = {"legend": {"displayMode": legend, "placement": "bottom", "showLegend": True, "calcs": calcs},
               "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, description, *targets, options=options, custom=custom, **more)


def stat(title, description, *targets, w=4, h=4, **more):
    """One number, or a few."""
    graph = more.pop("graph", "none")
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
               "graphMode": graph, "justifyMode": "auto", "textMode": more.pop("text", "auto"),
               "orientation": "auto"}
    more.setdefault("colour", "thresholds")
    more.setdefault("thresholds", steps("text"))
    return panel("stat", title, description, *targets, w=w, h=h, options=options, **more)


def timeline(title, description, *targets, words=VERDICTS, **more):
    """States over time, one row per series."""
    options = {"mergeValues": True, "showValue": "auto", "alignValue": "center", "rowHeight": 0.85,
               "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    return panel("state-timeline", title, description, *targets, options=options, mappings=mappings(words),
                 custom={"fillOpacity": 75, "lineWidth": 0}, colour="thresholds", thresholds=steps("text"), **more)


def heat(title, description, *targets, **more):
    """Values over time as colours, one row per series."""
    options = {"showValue": "never", "rowHeight": 0.9, "colWidth": 0.95,
               "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
    return panel("status-history", title, description, *targets, options=options, colour="thresholds",
                 custom={"fillOpacity": 80, "lineWidth": 0}, **more)


def table(title, description, *targets, w=24, **more):
    """Rows."""
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}}
    more.setdefault("custom", {"filterable": True, "align": "auto"})
    more.setdefault("colour", "thresholds")
    return panel("table", title, description, *targets, w=w, options=options, **more)


def override(name, **properties):
    """What holds for one field of a panel: `unit=…`, `mappings=…`, `links=…`, or `custom__width=…`."""
    return {"matcher": {"id": "byName", "options": name},
            "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]}


def verdict_cells(name="verdict", words=VERDICTS):
    """Colours the cells of a column with verdicts, given as codes or as words."""
    texts = {text.replace(" ", "_"): {"text": text, "color": colour, "index": 10 + i}
             for i, (_, text, colour) in enumerate(words)}
    both = [{"type": "value", "options": mappings(words)[0]["options"] | texts}]
    return override(name, mappings=both, custom__cellOptions={"type": "color-text"}, custom__width=130)


def dashed(pattern):
    """Draws the series whose name fits as a dashed line without filling."""
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": [
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}]}


def row(title):
    """A heading over the panels that follow."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}}


def laid_out(panels):
    """Places panels from left to right, and numbers them."""
    x = y = height = 0
    for number, made in enumerate(panels, 1):
        place = made["gridPos"]
        if x + place["w"] > 24:
            x, y, height = 0, y + height, 0
        place["x"], place["y"], made["id"] = x, y, number
        x, height = x + place["w"], max(height, place["h"])
    return panels


def datasource(name, kind, label):
    """A variable for where series or tables come from."""
    return {"name": name, "type": "datasource", "query": kind, "label": label, "hide": 0, "current": {}, "refresh": 1}


def label_values(name, label, query, *, many=True, every=True, description=""):
    """A variable with the values of a label."""
    return {"name": name, "type": "query", "label": label, "datasource": PROMETHEUS, "description": description,
            "query": {"query": query, "refId": name}, "includeAll": every, "multi": many, "refresh": 2, "sort": 1,
            "current": {"text": "All", "value": "$__all"} if every else {}}


def from_sql(name, label, text, description=""):
    """A variable with what Postgres answers: `__value` and `__text`."""
    return {"name": name, "type": "query", "label": label, "datasource": POSTGRES, "description": description,
            "query": " ".join(text.split()), "includeAll": False, "multi": False, "refresh": 2, "sort": 0, "current": {}}


def annotation(name, colour, text):
    """Marks on every panel with time, from Postgres: `time`, `text`, `tags`."""
    query = sql(text)
    return {"name": name, "enable": True, "iconColor": colour, "datasource": POSTGRES,
            "target": {key: query[key] for key in ("refId", "rawSql", "rawQuery", "editorMode", "format")}}


def dashboard(uid, title, description, variables, panels, annotations=(), page_path="/"):
    """A whole dashboard."""
    shared = [datasource("datasource", "prometheus", "Prometheus"),
              datasource("database", "grafana-postgresql-datasource", "Postgres")]
    page = {"name": "page", "type": "textbox", "label": "driftline's page", "query": "http://localhost:9464", "hide": 2,
            "description": "where links to driftline's own page lead",
            "current": {"text": "http://localhost:9464", "value": "http://localhost:9464"}}
    others = {"type": "dashboards", "title": "driftline", "tags": ["driftline"], "asDropdown": False, "icon": "external link",
              "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}
    own = {"type": "link", "title": "driftline's page", "url": "${page}" + page_path, "icon": "external link", "targetBlank": True,
           "asDropdown": False, "includeVars": False, "keepTime": False, "tags": [], "tooltip": "evidence, approval, promotion"}
    return {
        "uid": uid, "title": title, "description": description, "tags": ["driftline"], "timezone": "browser",
        "schemaVersion": 39, "version": 1, "editable": True, "refresh": "30s", "time": {"from": "now-24h", "to": "now"},
        "graphTooltip": 1, "links": [others, own], "templating": {"list": [*shared, *variables, page]},
        "annotations": {"list": list(annotations)}, "panels": laid_out(panels),
    }

#!/usr/bin/env python3
"""What can be said of dashboards, images and Compose files without running them.

Grafana's own schema (the Foundation SDK reads each dashboard and writes it again, and nothing of ours may be lost),
hadolint on every Dockerfile, and the schema of Compose. Run it with `make test-dashboards`.
"""

import json
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import panels  # noqa: E402
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: E402
from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: E402

# What the SDK lacks, though Grafana has it: annotations that a statement gives (it knows those by tag alone).
UNKNOWN_TO_SDK = (".annotations.list[",)


def lost(ours, theirs, place):
    """What of `ours` is not in `theirs`; keys that the SDK adds are none of our business."""
    if isinstance(ours, dict):
        if not isinstance(theirs, dict):
            yield place
            return
        for key, value in ours.items():
            at = f"{place}.{key}"
            if key not in theirs:
                # What is empty may be left out.
                if value not in (None, [], {}, ""):
                    yield at
            else:
                yield from lost(value, theirs[key], at)
    elif isinstance(ours, list):
        if not isinstance(theirs, list) or len(ours) != len(theirs):
            yield place
            return
        for at, (one, other) in enumerate(zip(ours, theirs)):
            yield from lost(one, other, f"{place}[{at}]")
    elif ours != theirs:
        yield f"{place}: {ours!r} became {theirs!r}"


def schema_problems():
    # Without it, options of panels and queries would pass unread.
    register_default_plugins()
    for name, ours in panels.dashboards().items():
        theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
        for place in lost(ours, theirs, name):
            if not any(known in place for known in UNKNOWN_TO_SDK):
                yield f"grafana: {place}"


def layout_problems():
    """Panels that overlap, have no description, or say nothing when they are empty."""
    for name, dashboard in panels.dashboards().items():
        taken = {}
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    if x >= 24 or taken.setdefault((x, y), panel["title"]) != panel["title"]:
                        yield f"{name}: `{panel['title']}` lies over `{taken.get((x, y))}` at {x}, {y}"
                        break
            if panel["type"] == "row":
                continue
            if not panel.get("description"):
                yield f"{name}: `{panel['title']}` has no description"
            if not panel["fieldConfig"]["defaults"].get("noValue"):
                yield f"{name}: `{panel['title']}` says nothing when it is empty"
        uids = {other["uid"] for other in panels.dashboards().values()}
        text = json.dumps(dashboard)
        for link in {part.split("?")[0].split('"')[0] for part in text.split("/d/")[1:]}:
            if link not in uids:
                yield f"{name}: a link leads to `{link}`, which is no dashboard"


def tool(name, *arguments):
    done = subprocess.run([pathlib.Path(sys.executable).with_name(name), *map(str, arguments)], capture_output=True, text=True,
                          check=False, cwd=ROOT)
    if done.returncode:
        yield f"{name}: {done.stdout}{done.stderr}".strip()


def main():
    dockerfiles = sorted([ROOT / "Dockerfile", *(ROOT / "deploy").rglob("Dockerfile")])
    assert len(dockerfiles) >= 2, dockerfiles
    problems = [
        *tool("python", "dashboards/grafana/generate.py", "--check"),
        *schema_problems(),
        *layout_problems(),
        *tool("hadolint", "--failure-threshold", "style", *dockerfiles),
        *tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"),
    ]
    for problem in problems:
        print(problem)
    counted = sum(panel["type"] != "row" for dashboard in panels.dashboards().values() for panel in dashboard["panels"])
    print(f"{len(panels.dashboards())} dashboards with {counted} panels, {len(dockerfiles)} Dockerfiles, docker-compose.yml: "
          f"{'clean' if not problems else f'{len(problems)} problems'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

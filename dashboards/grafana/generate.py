#!/usr/bin/env python3
"""Writes the dashboards beside this file as JSON; with --check it only says whether they are up to date.

One dashboard answers one question. Change them here: what Grafana loads is `*.json`, and a test compares.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import drift  # noqa: E402
import models  # noqa: E402
import tap  # noqa: E402
import training  # noqa: E402


def main(arguments):
    stale = []
    for name, made in {"models": models.made(), "drift": drift.made(), "tap": tap.made(), "training": training.made()}.items():
        path = HERE / f"{name}.json"
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"not up to date: {', '.join(stale)}; hint: python3 dashboards/grafana/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Makes a virtual environment of the tests in the cache; prints its Python, the value for the variable named below.

Usage: python.py [tests|api]. It holds what the requirements beside this file pin, and is made anew when they or this
Python change. A variable that is already set is checked and kept.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "trainer" / "setup"))

import wheels  # noqa: E402
from wheels import SetupError, say  # noqa: E402

# What is asked for: its variable, its requirements, their bytes, and what they have to give.
ENVIRONMENTS = {
    "tests": (
        "DRIFTLINE_TEST_PYTHON",
        "requirements.txt",
        63_000_000,
        "aiosmtpd.controller, cloudevents.core.bindings.http, grpc, onnx, onnxruntime, "
        "opentelemetry.proto.trace.v1.trace_pb2, standardwebhooks, websockets.sync.server",
    ),
    "api": ("DRIFTLINE_API_PYTHON", "requirements-api.txt", 14_000_000, "schemathesis, hypothesis"),
}
NAME = sys.argv[1] if len(sys.argv) > 1 else "tests"
VARIABLE, FILE, BYTES, IMPORTED = ENVIRONMENTS[NAME]
REQUIREMENTS = pathlib.Path(__file__).resolve().with_name(FILE)


def usable(python):
    """Whether a Python has what the tests import."""
    return wheels.works([python, "-c", f"import {IMPORTED}"])


def run():
    """Finds or makes the environment; returns its Python."""
    if given := os.environ.get(VARIABLE):
        if not usable(given):
            raise SetupError(f"{VARIABLE} is {given}, which cannot import {IMPORTED}\n  hint: unset it")
        say(f"python: using {VARIABLE}={given}")
        return given
    cache = wheels.cache_dir()
    what = f"{sys.version}\n{sys.executable}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    target = cache / f"python-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    python = target / "bin" / "python3"
    if (target / "complete").is_file() and usable(python):
        say(f"python: the environment `{NAME}` is already in {target}")
        return str(python)
    started = time.monotonic()
    with wheels.locked(cache):
        say(f"python: making the environment `{NAME}` in {target}")
        shutil.rmtree(target, ignore_errors=True)
        # Its scripts name its place, so it is made there and marked when complete, not renamed.
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", target], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise SetupError(
                f"{sys.executable} cannot make a virtual environment: {made.stderr.strip()}\n"
                "  hint: on Debian and Ubuntu, `sudo apt-get install python3-venv`"
            )
        work = cache / "partial" / "python"
        work.mkdir()
        packages = next(target.glob("lib/python3*/site-packages"))
        wheels.run_pip(
            cache,
            ["install", "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--target",
             packages, "--requirement", REQUIREMENTS],
            work, BYTES, f"the packages of {FILE}",
        )  # fmt: skip
        if not usable(python):
            raise SetupError(f"the environment in {target} cannot import {IMPORTED}; remove it and try again")
        (target / "complete").touch()
    say(f"python: done in {time.monotonic() - started:.0f} s, {wheels.megabytes(wheels.folder_size(target))}")
    return str(python)


if __name__ == "__main__":
    wheels.main(run)

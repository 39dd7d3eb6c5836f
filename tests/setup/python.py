#!/usr/bin/env python3
"""Makes the virtual environment of the tests in the cache; prints its Python, the value for DRIFTLINE_TEST_PYTHON.

It holds what `requirements.txt` beside this file pins, and is made anew when that file or this Python changes.
A DRIFTLINE_TEST_PYTHON that is already set is checked and kept.
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

REQUIREMENTS = pathlib.Path(__file__).resolve().with_name("requirements.txt")
BYTES = 63_000_000
IMPORTED = (
    "aiosmtpd.controller, cloudevents.core.bindings.http, grpc, onnx, onnxruntime, "
    "opentelemetry.proto.trace.v1.trace_pb2, standardwebhooks, websockets.sync.server"
)


def usable(python):
    """Whether a Python has what the tests import."""
    return wheels.works([python, "-c", f"import {IMPORTED}"])


def run():
    """Finds or makes the environment; returns its Python."""
    if given := os.environ.get("DRIFTLINE_TEST_PYTHON"):
        if not usable(given):
            raise SetupError(f"DRIFTLINE_TEST_PYTHON is {given}, which cannot import {IMPORTED}\n  hint: unset it")
        say(f"python: using DRIFTLINE_TEST_PYTHON={given}")
        return given
    cache = wheels.cache_dir()
    what = f"{sys.version}\n{sys.executable}\n{REQUIREMENTS.read_text(encoding='utf-8')}"
    target = cache / f"python-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    python = target / "bin" / "python3"
    if (target / "complete").is_file() and usable(python):
        say(f"python: the environment of the tests is already in {target}")
        return str(python)
    started = time.monotonic()
    with wheels.locked(cache):
        say(f"python: making the environment of the tests in {target}")
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
            work, BYTES, "the packages of requirements.txt",
        )  # fmt: skip
        if not usable(python):
            raise SetupError(f"the environment in {target} cannot import {IMPORTED}; remove it and try again")
        (target / "complete").touch()
    say(f"python: done in {time.monotonic() - started:.0f} s, {wheels.megabytes(wheels.folder_size(target))}")
    return str(python)


if __name__ == "__main__":
    wheels.main(run)

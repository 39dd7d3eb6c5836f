#!/usr/bin/env python3
"""Puts driftline in front of real model servers, asks them with real clients, and compares what was kept.

For every request the client prints what it sent and what it read out of the answer; the rows that driftline kept of
the exchange of that `x-request-id` have to be the same. Run it with `make test-servers`, which makes the environments.

    tests/servers/run.py --binary target/debug/driftline --environments FOLDER [server ...]
"""

import argparse
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
FEATURES = "[a, b, c, d]"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def wait_until(what, probe, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if probe():
            return
        time.sleep(0.2)
    raise SystemExit(f"{what} was not ready in {seconds} s")


def answers(url):
    def probe():
        try:
            fetch(url)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    return probe


class Processes:
    def __init__(self, folder):
        self.folder, self.running = pathlib.Path(folder), []

    def start(self, name, command, **more):
        log = (self.folder / f"{name}.log").open("w")
        # A group of its own, since servers start children.
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **more)
        self.running.append(process)
        return process

    def stop(self):
        for process in reversed(self.running):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


class Server:
    """How one model server is started, asked, and called in the settings."""

    def __init__(self, name, python, folder):
        self.name, self.python, self.folder = name, python, pathlib.Path(folder)
        self.http, self.grpc, self.metrics = free_port(), free_port(), free_port()
        self.path, self.features = None, FEATURES
        self.environment = dict(os.environ, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1")

    def command(self):
        bin_folder = self.python.parent
        if self.name == "triton":
            return [self.python, HERE / "serve_triton.py", self.http, self.grpc, self.metrics]
        if self.name == "kserve":
            return [self.python, HERE / "serve_kserve.py", self.http, self.grpc]
        if self.name == "mlserver":
            folder = self.folder / "models"
            folder.mkdir()
            (folder / "sums.py").write_text((HERE / "mlserver" / "sums.py").read_text())
            (folder / "model-settings.json").write_text(json.dumps({"name": "sums", "implementation": "sums.Sums"}))
            (folder / "settings.json").write_text(json.dumps({
                "host": "127.0.0.1", "http_port": self.http, "grpc_port": self.grpc, "metrics_port": self.metrics,
                "parallel_workers": 0, "gzip_enabled": True,
            }))
            return [bin_folder / "mlserver", "start", folder]
        if self.name == "seldon":
            self.path = "/api/v1.0/predictions"
            self.environment |= {
                "PYTHONPATH": f"{HERE / 'seldon'}:{HERE}", "GUNICORN_WORKERS": "1",
                "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(self.metrics),
            }
            return [bin_folder / "seldon-core-microservice", "Sums", "--service-type", "MODEL",
                    "--http-port", self.http, "--grpc-port", self.grpc, "--metrics-port", self.metrics]
        self.path = "/invocations"
        saved = self.folder / "model"
        subprocess.run([self.python, HERE / "save_mlflow.py", saved], check=True, env=self.environment,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.environment["PATH"] = f"{bin_folder}:{os.environ['PATH']}"
        return [bin_folder / "mlflow", "models", "serve", "--env-manager", "local", "-m", saved,
                "-h", "127.0.0.1", "-p", self.http, "-w", "1"]

    def ready(self):
        health = {"triton": "/v2/models/sums/ready", "kserve": "/v2/health/ready", "mlserver": "/v2/health/ready",
                  "seldon": "/health/status", "mlflow": "/ping"}[self.name]

        def probe():
            try:
                fetch(f"http://127.0.0.1:{self.http}{health}")
                return True
            except OSError:
                return False

        return probe

    def client(self, proxy, grpc_proxy):
        if self.name == "triton":
            return [self.python, HERE / "client_triton.py", f"127.0.0.1:{proxy}", f"127.0.0.1:{grpc_proxy}"]
        return [self.python, HERE / "client_rest.py", self.name, f"http://127.0.0.1:{proxy}"]


def driftline(processes, name, binary, upstream, server, database):
    proxy, admin = free_port(), free_port()
    path = f", path: {server.path}" if server.path else ""
    settings = processes.folder / f"{name}.yaml"
    settings.write_text(
        f"listen: {{proxy: '127.0.0.1:{proxy}', admin: '127.0.0.1:{admin}'}}\n"
        f"data_dir: {processes.folder}/{name}\n"
        f"database: {{url: '{database}'}}\n"
        f"tap: {{upstream: 'http://127.0.0.1:{upstream}'}}\n"
        f"models: [{{name: sums, features: {server.features}{path}, training: {{task: regression, target: y}}}}]\n"
    )
    processes.start(name, [binary, "--config", str(settings), "run"], env=dict(os.environ, RUST_LOG="driftline=debug"))
    wait_until("driftline", answers(f"http://127.0.0.1:{admin}/readyz"))
    return proxy, admin


class Database:
    """A database of its own per server, in the Postgres of `DATABASE_URL`."""

    def __init__(self, name):
        self.psql = pathlib.Path(os.environ["DRIFTLINE_POSTGRES_BIN"]) / "psql"
        self.main = os.environ["DATABASE_URL"]
        database = f"servers_{name}"
        self.ask(self.main, f"create database {database}")
        self.url = self.main.replace("///postgres", f"///{database}")

    def ask(self, url, sql):
        # libpq and sqlx agree on the URL but for this.
        done = subprocess.run([self.psql, url, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"psql: {done.stderr}")
        return done.stdout

    def rows(self):
        if not self.ask(self.url, "select to_regclass('captured_row')").strip():
            return {}
        sql = "select coalesce(json_agg(json_build_object('id', row_id, 'f', features, 'o', outputs)), '[]') from captured_row"
        return {row["id"]: row for row in json.loads(self.ask(self.url, sql))}


def totals(admin):
    text = fetch(f"http://127.0.0.1:{admin}/metrics")
    found = {}
    for name, labels, value in re.findall(r"^driftline_predictions_(\w+)_total\{([^}]*)\} (\d+)$", text, re.M):
        found[name] = found.get(name, 0) + int(value)
        if name == "dropped" and int(value):
            found.setdefault("reasons", []).append(labels)
    return found


def same(expected, kept):
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return isinstance(kept, (int, float)) and math.isclose(expected, kept, rel_tol=1e-6, abs_tol=1e-9)
    return expected == kept


def differences(case, kept):
    """What of a case was not kept as it was sent; every row of the client's has to be there, and no other."""
    rows, name = case["rows"], case["case"]
    ids = [name] if len(rows) == 1 else [f"{name}_{i}" for i in range(len(rows))]
    for at, (row, row_id) in enumerate(zip(rows, ids)):
        if row_id not in kept:
            yield f"row {at} was not kept"
            continue
        for side, column in (("features", "f"), ("outputs", "o")):
            stored = kept[row_id][column]
            for key in sorted(set(row[side]) | set(stored)):
                wanted, found = row[side].get(key), stored.get(key)
                if not same(wanted, found):
                    yield f"row {at}: {side}.{key} is {found!r}, the client has {wanted!r}"
    if f"{name}_{len(rows)}" in kept:
        yield f"more than {len(rows)} rows were kept"


def check(name, binary, environments):
    started = time.monotonic()
    python = environments / name / "bin" / "python"
    failures = 0
    with tempfile.TemporaryDirectory(prefix=f"driftline-{name}-") as folder:
        processes = Processes(folder)
        try:
            database = Database(name)
            server = Server(name, python, folder)
            processes.start("server", list(map(str, server.command())), env=server.environment, cwd=folder)
            wait_until(name, server.ready())
            proxy, admin = driftline(processes, "driftline", binary, server.http, server, database.url)
            grpc_proxy, admins = None, [admin]
            if name == "triton":
                grpc_proxy, grpc_admin = driftline(processes, "driftline-grpc", binary, server.grpc, server, database.url)
                admins.append(grpc_admin)
            asked = subprocess.run(list(map(str, server.client(proxy, grpc_proxy))), env=server.environment,
                                   capture_output=True, text=True, timeout=300)
            cases = [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("{")]
            if asked.returncode != 0:
                print(asked.stderr[-2000:])
                print(f"{name}: the client failed after {len(cases)} cases")
                failures += 1
            wanted = sum(len(case["rows"]) for case in cases)
            deadline = time.monotonic() + 20
            while len(kept := database.rows()) < wanted and time.monotonic() < deadline:
                time.sleep(0.3)
            for case in cases:
                found = list(differences(case, kept))
                failures += bool(found)
                print(f"{name:9} {case['case']:26} {len(case['rows']):>3} rows  {'ok' if not found else 'DIFFERENT'}")
                for line in found[:6]:
                    print(f"            {line}")
            for at in admins:
                counts = totals(at)
                settled = counts.get("kept", 0) + counts.get("sampled_out", 0) + counts.get("dropped", 0)
                closed = counts.get("seen", 0) == settled and not counts.get("dropped")
                failures += not closed
                print(f"{name:9} seen {counts.get('seen', 0)} = kept {counts.get('kept', 0)}"
                      f" + dropped {counts.get('dropped', 0)} {' '.join(counts.get('reasons', []))}"
                      f" {'ok' if closed else 'WRONG'}")
        finally:
            processes.stop()
            if failures or sys.exc_info()[0]:
                for log in sorted(pathlib.Path(folder).glob("*.log")):
                    print(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
    print(f"{name:9} {'ok' if not failures else f'{failures} failed'} in {time.monotonic() - started:.0f} s")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/debug/driftline", type=os.path.abspath)
    parser.add_argument("--environments", required=True, type=pathlib.Path)
    parser.add_argument("servers", nargs="*", default=[])
    options = parser.parse_args()
    names = options.servers or ["triton", "kserve", "mlserver", "seldon", "mlflow"]
    failures = sum(check(name, options.binary, options.environments) for name in names)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

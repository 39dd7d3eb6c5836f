#!/usr/bin/env python3
"""Starts the services of docker-compose.yml as processes, waits for drift, an alert and a training run, and asks every panel.

A real Postgres (DATABASE_URL), MLServer with the example's model, driftline, a trainer, Prometheus, a mail catcher and a
traffic generator, with the settings that the images get. It ends with a table of what every dashboard has; status 1 when a
panel is empty that must not be. Run it with `make stack`; with `ARGS=--serve` everything stays up until Ctrl-C.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import panels  # noqa: E402

MODEL = "bike-demand"
DATA = ROOT / "baselines" / "data" / "bike_sharing.csv"
# How long the whole story may take.
PATIENCE = 15 * 60


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_answered(url):
    try:
        with urllib.request.urlopen(url, timeout=3):
            return True
    except (OSError, urllib.error.URLError):
        return False


class Stack:
    """The services, each with its log in one folder."""

    def __init__(self, given, folder):
        self.given, self.folder, self.running = given, folder, {}
        self.psql = pathlib.Path(os.environ["DRIFTLINE_POSTGRES_BIN"]) / "psql"
        self.server = os.environ["DATABASE_URL"]
        self.ports = {name: free_port() for name in ("proxy", "admin", "model", "grpc", "metrics", "mail", "prometheus", "collector")}
        self.began = time.monotonic()

    def at(self, name):
        return f"http://127.0.0.1:{self.ports[name]}"

    def tell(self, text):
        say(f"  {time.monotonic() - self.began:5.0f} s  {text}")

    def sql(self, text, url=None):
        done = subprocess.run([self.psql, url or self.database, "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", text],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"psql: {done.stderr}")
        return done.stdout.strip()

    def start(self, name, command, **more):
        log = (self.folder / f"{name}.log").open("w")
        # A group of its own, since servers start children.
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True, **more)
        self.running[name] = process

    def run(self, name, command, **more):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)
        (self.folder / f"{name}.log").write_text(done.stdout + done.stderr)
        if done.returncode:
            raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def stop(self):
        for process in reversed(self.running.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in reversed(self.running.values()):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait(self, what, probe, seconds=120):
        deadline = time.monotonic() + seconds
        while not (found := probe()):
            for name, process in self.running.items():
                if process.poll() is not None:
                    log = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                    raise SystemExit(f"{name} ended with {process.returncode}:\n" + "\n".join(log))
            if time.monotonic() > deadline:
                raise SystemExit(f"{what} did not happen within {seconds} s; the logs are in {self.folder}")
            time.sleep(0.5)
        self.tell(what)
        return found

    def begin(self):
        """Everything up to the first prediction."""
        given, folder = self.given, self.folder
        name = f"stack_{os.getpid()}_{int(time.time())}"
        self.sql(f"create database {name}", self.server)
        self.database = self.server.replace("/postgres?", f"/{name}?")
        assert self.database != self.server, f"DATABASE_URL has to name the database postgres: {self.server}"
        self.sql("drop role if exists dashboard_reader")
        self.run("reader", [self.psql, self.database, "-X", "-v", "ON_ERROR_STOP=1", "-f", ROOT / "deploy/postgres/reader.sql"])
        model = folder / "model"
        self.tell(self.run("train", [given.python, ROOT / "deploy/mlserver/train.py", DATA, model]))
        settings = json.loads((model / "settings.json").read_text())
        settings |= {"host": "127.0.0.1", "http_port": self.ports["model"], "grpc_port": self.ports["grpc"],
                     "metrics_port": self.ports["metrics"]}
        (model / "settings.json").write_text(json.dumps(settings))
        self.start("model", [given.python.with_name("mlserver"), "start", model], cwd=folder)
        self.start("mail", [given.python, "-m", "aiosmtpd", "-n", "-u", "-l", f"127.0.0.1:{self.ports['mail']}",
                            "-c", "aiosmtpd.handlers.Debugging", "stdout"])

        self.start("collector", [given.python, ROOT / "tests/it/otlp_collector.py", self.ports["collector"]])

        # The settings of the images, with this machine's places over them.
        password = folder / "password"
        password.write_text("not asked for on a socket\n")
        self.environment = dict(
            os.environ, DRIFTLINE_CONFIG=str(ROOT / "deploy/driftline.yaml"),
            DRIFTLINE__LISTEN__PROXY=f"127.0.0.1:{self.ports['proxy']}", DRIFTLINE__LISTEN__ADMIN=f"127.0.0.1:{self.ports['admin']}",
            DRIFTLINE__DATABASE__URL=self.database, DRIFTLINE__DATABASE__PASSWORD_FILE=str(password),
            DRIFTLINE__DATA_DIR=str(folder / "data"), DRIFTLINE__BASELINES_DIR=str(folder / "baselines"),
            DRIFTLINE__TAP__UPSTREAM=self.at("model"), DRIFTLINE__TRACES__ENDPOINT=self.at("collector"),
            DRIFTLINE__SMTP=f"{{host: 127.0.0.1, port: {self.ports['mail']}, tls: none, from: driftline@example.com}}",
            DRIFTLINE__RULES=json.dumps([str(ROOT / "rules/*.yaml"), str(ROOT / "deploy/rules.yaml")]),
            DATABASE_PASSWORD_FILE=str(password),
        )
        driftline = given.binaries / "driftline"
        self.run("baseline", [driftline, "baseline", "build", model / "reference.csv", "-m", MODEL, "--output", "predict"],
                 env=self.environment)
        self.tell("baseline built")
        self.start("sidecar", [driftline, "run"], env=self.environment)
        self.start("trainer", [given.binaries / "driftline-trainer", "work"], env=dict(self.environment, DATABASE_URL=self.database))
        self.wait("driftline answers", lambda: is_answered(f"{self.at('admin')}/readyz"))
        self.tell(f"driftline healthcheck: {self.run('healthcheck', [driftline, 'healthcheck'], env=self.environment)}")
        self.start_prometheus()
        self.wait("MLServer is ready", lambda: is_answered(f"{self.at('model')}/v2/models/{MODEL}/ready"))
        self.start("traffic", [given.python, ROOT / "deploy/mlserver/traffic.py", DATA, "--proxy", self.at("proxy"), "--admin",
                               self.at("admin"), "--calm", given.calm, "--shifted", 100_000], cwd=folder)

    def start_prometheus(self):
        config = self.folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
            "rule_files": [str(ROOT / "dashboards/prometheus/rules/driftline.yml")],
            "scrape_configs": [{"job_name": "driftline", "static_configs": [{"targets": [f"127.0.0.1:{self.ports['admin']}"]}]}],
        }))
        self.start("prometheus", [self.given.prometheus, f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
                                  f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}"])
        self.wait("Prometheus is ready", lambda: is_answered(f"{self.at('prometheus')}/-/ready"))

    def story(self):
        """Until a model was retrained because it drifted, and told of."""
        count = lambda query: int(self.sql(f"select count(*) from dashboard.{query}"))  # noqa: E731
        self.wait("a window was judged", lambda: count("report") > 0, 300)
        self.wait("a window drifted", lambda: count("report where verdict = 'drift'") > 0, PATIENCE)
        self.wait("an alert fires", lambda: count("alert where state = 'firing'") > 0, 300)
        self.wait("a run was asked for", lambda: count("run") > 0, 300)
        self.wait("a run has ended", lambda: count("run where finished_at is not null") > 0, 300)
        for line in self.sql("select state || ': ' || outcome from dashboard.run where finished_at is not null").splitlines():
            self.tell(line)
        self.wait("a version is in production", lambda: count("version where state = 'production'") > 0, PATIENCE)
        self.wait("a message was delivered", lambda: count("message where state = 'sent'") > 0, 120)
        # Gauges of the database are 2 s old at most, and scraped every 5 s; rates want a minute.
        time.sleep(20)

    def answers(self):
        run = self.sql("select run from dashboard.run_metric order by epoch desc limit 1")
        every = {"sql": MODEL, "regex": ".*"}
        variables = {"model": {"sql": MODEL, "regex": MODEL}, "feature": {"sql": "temp", "regex": ".*"}, "run": {"sql": run, "regex": run},
                     "statistic": {"sql": "ks", "regex": "ks"}, "page": every}
        minutes = int((time.monotonic() - self.began) / 60) + 2
        reader = self.database.replace("user=driftline", "user=dashboard_reader")
        assert reader != self.database, f"DATABASE_URL has to name the user driftline: {self.server}"
        sources = panels.Sources(self.at("prometheus"), self.psql, reader, variables, minutes)
        return [*panels.of_dashboards(sources), *panels.of_rules(sources), *self.spans()]

    def spans(self):
        """Whether each kind of span arrived at the collector, which reads them with the protocol's own messages."""
        lines = (self.folder / "collector.log").read_text().splitlines()
        names = collections.Counter(json.loads(line)["name"] for line in lines if line.startswith("{"))
        for name in ("predict", "profile", "retrain", "queue", "train", "register"):
            yield panels.Answer(f"traces: {name}", "OTLP", names[name])


def report(answers):
    """Prints one line per dashboard, and each answer that is not as it has to be."""
    say(f"\n{'what':34} {'queries':>7} {'with data':>9} {'may be empty':>12} {'wrong':>5}")
    groups = collections.defaultdict(list)
    for answer in answers:
        where = answer.place.split(":")[0]
        group = "rules for Prometheus" if where.startswith("rule ") else "traces" if where == "traces" else f"dashboard {where}"
        groups[group].append(answer)
    for name, group in groups.items():
        empty = [answer for answer in group if answer.is_good and not answer.rows]
        wrong = [answer for answer in group if not answer.is_good]
        say(f"{name:34} {len(group):7} {sum(bool(answer.rows) for answer in group):9} {len(empty):12} {len(wrong):5}")
    for answer in answers:
        if answer.is_good and not answer.rows:
            say(f"  empty  {answer.place}: {answer.excuse}")
    wrong = [answer for answer in answers if not answer.is_good]
    for answer in wrong:
        say(f"  WRONG  {answer.place} ({answer.kind}): {answer.problem or 'no data'}")
    for name, title in panels.unused_excuses():
        say(f"  WRONG  {name} has no panel `{title}`, which may be empty")
    return not wrong and not panels.unused_excuses()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", default="target/debug", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--python", required=True, type=pathlib.Path, help="of tests/stack/environment.sh")
    parser.add_argument("--prometheus", required=True, type=pathlib.Path)
    parser.add_argument("--calm", type=float, default=150, help="seconds of traffic that the model knows")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for logs and data; removed at the end unless given")
    parser.add_argument("--serve", action="store_true", help="leave everything running until Ctrl-C")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="driftline-stack-") as temporary:
        folder = (given.keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        stack = Stack(given, folder)
        try:
            say("== Starting the services of docker-compose.yml as processes")
            stack.begin()
            say("== Traffic, until a model was retrained")
            stack.story()
            is_good = report(stack.answers())
            (folder / "metrics.txt").write_bytes(urllib.request.urlopen(f"{stack.at('admin')}/metrics").read())
            if given.serve:
                say(f"\nproxy      {stack.at('proxy')}\ndriftline  {stack.at('admin')}\nPrometheus {stack.at('prometheus')}\n"
                    f"Postgres   {stack.database}\nlogs       {folder}\nCtrl-C ends it")
                signal.pause()
        except KeyboardInterrupt:
            is_good = True
        finally:
            stack.stop()
    say(f"\n{'every panel, variable and rule has data' if is_good else 'something is WRONG, see above'}"
        f" ({time.monotonic() - stack.began:.0f} s)")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())

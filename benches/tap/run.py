#!/usr/bin/env python3
"""Measures driftline as a proxy against the direct connection, nginx as a proxy, and nginx with `mirror`.

All four have the same upstream (nginx, one worker, a canned answer), the same load tools (h2load for latency at a
given rate, wrk for the highest rate) and the same number of proxy threads. driftline records everything meanwhile:
a model of 100 features with a baseline, its private Postgres on the same machine.

    benches/tap/run.py [--binary target/release/driftline] [--threads 1] [--seconds 10] [--memory-seconds 300]
"""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

FEATURES = 100
RATE = 1_000
CONNECTIONS = 64
MODEL = "bench"
PATH = f"/v2/models/{MODEL}/infer"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"a server on port {port} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


class Bench:
    def __init__(self, folder, options):
        self.folder, self.options, self.processes = pathlib.Path(folder), options, []
        random.seed(7)
        self.body = self.folder / "request.json"
        self.body.write_text(json.dumps(request(), separators=(",", ":")))
        (self.folder / "post.lua").write_text(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f'wrk.body = io.open("{self.body}"):read("*a")\n'
        )

    def start(self, port, command, **more):
        log = (self.folder / f"{port}.log").open("w")
        process = subprocess.Popen(command, stdout=log, stderr=log, **more)
        self.processes.append(process)
        wait_for(port, process)
        return process

    def nginx(self, port, servers, threads):
        folder = self.folder / f"nginx-{port}"
        folder.mkdir()
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes {threads}; pid {folder}/pid; error_log {folder}/error.log;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; {temporary} keepalive_requests 100000000; client_body_buffer_size 64k;\n"
            f"{servers}\n}}\n"
        )
        return self.start(port, ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])

    def upstream(self):
        port = free_port()
        answer = json.dumps(response(), separators=(",", ":"))
        self.nginx(
            port,
            f"server {{ listen 127.0.0.1:{port} reuseport; location / {{ default_type application/json;"
            f" return 200 '{answer}'; }} location = /mirrored {{ return 204; }} }}",
            1,
        )
        return port

    def nginx_proxy(self, upstream, mirror):
        port = free_port()
        mirrored = "mirror /mirror; mirror_request_body on;" if mirror else ""
        common = 'proxy_http_version 1.1; proxy_set_header Connection "";'
        self.nginx(
            port,
            f"upstream model {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}\n"
            f"server {{ listen 127.0.0.1:{port} reuseport; {common}\n"
            f"location / {{ {mirrored} proxy_pass http://model; }}\n"
            "location = /mirror { internal; proxy_pass http://model/mirrored; } }",
            self.options.threads,
        )
        return port

    def driftline(self, upstream):
        port, admin = free_port(), free_port()
        data = self.folder / "reference.csv"
        with data.open("w") as file:
            file.write(",".join(f"f{j}" for j in range(FEATURES)) + ",score\n")
            for _ in range(5_000):
                file.write(",".join(f"{random.gauss(0, 1):.6f}" for _ in range(FEATURES + 1)) + "\n")
        settings = self.folder / "driftline.yaml"
        settings.write_text(
            f"listen: {{proxy: '127.0.0.1:{port}', admin: '127.0.0.1:{admin}'}}\n"
            f"data_dir: {self.folder}/data\nbaselines_dir: {self.folder}/baselines\n"
            f"tap: {{upstream: 'http://127.0.0.1:{upstream}', threads: {self.options.threads}}}\n"
            f"models: [{{name: {MODEL}, window: 1h}}]\n"
        )
        binary = self.options.binary
        build = [binary, "--config", str(settings), "baseline", "build", str(data), "--model", MODEL, "--output", "score"]
        done = subprocess.run(build, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"the baseline was not built:\n{done.stderr}")
        environment = dict(os.environ, TOKIO_WORKER_THREADS=str(self.options.threads), RUST_LOG="warn")
        process = self.start(port, [binary, "--config", str(settings), "run"], env=environment)
        wait_for(admin, process)
        return port, admin, process

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def request():
    row = [round(random.gauss(0, 1), 16) for _ in range(FEATURES)]
    return {"id": "bench", "inputs": [{"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": row}]}


def response():
    return {
        "model_name": MODEL, "model_version": "1",
        "outputs": [{"name": "score", "shape": [1, 1], "datatype": "FP64", "data": [0.25]}],
    }


def latency(bench, port, seconds):
    """Median and 99th percentile in microseconds at the fixed rate, over 8 connections."""
    clients = 8
    log = bench.folder / f"h2load-{port}.tsv"
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", f"--clients={clients}", f"--rps={RATE // clients}", f"--duration={seconds}",
               "--warm-up-time=2", "-t1", f"--data={bench.body}", "-H", "content-type: application/json",
               f"--log-file={log}", f"http://127.0.0.1:{port}{PATH}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    micros = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines() if line.split("\t")[1] == "200")
    if len(micros) < RATE * seconds * 0.8:
        sys.exit(f"only {len(micros)} answers of {RATE * seconds} on port {port}")
    return micros[len(micros) // 2], micros[len(micros) * 99 // 100]


def highest_rate(bench, port, seconds):
    """Requests per second at 64 connections."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(bench.folder / "post.lua"),
               f"http://127.0.0.1:{port}{PATH}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
        sys.exit(f"{found[1]} requests failed on port {port}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])


def counters(admin):
    text = urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics").read().decode()
    totals = collections.Counter()
    for name, value in re.findall(r"^driftline_predictions_(seen|kept|sampled_out|dropped)_total\{[^}]*\} (\d+)$", text, re.M):
        totals[name] += int(value)
    return totals


def settled(admin):
    """The counts once everything that was seen has gone somewhere."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        totals = counters(admin)
        if totals["seen"] == totals["kept"] + totals["sampled_out"] + totals["dropped"]:
            return totals
        time.sleep(0.2)
    sys.exit(f"the loss identity did not close: {dict(totals)}")


def rss_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(bench, port, admin, process, seconds):
    """RSS at the given rate with all features, then with Postgres stopped."""
    load = ["h2load", "--h1", "--clients=8", f"--rps={RATE // 8}", f"--duration={seconds}", "-t1",
            f"--data={bench.body}", "-H", "content-type: application/json", f"http://127.0.0.1:{port}{PATH}"]
    subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
    with_database = rss_mb(process.pid)
    postmaster = next((bench.folder / "data").rglob("postmaster.pid")).read_text().split()[0]
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", postmaster], capture_output=True, text=True).stdout.split()
    stopped = [int(postmaster), *map(int, children)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
        without = rss_mb(process.pid)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    print(f"\nRSS after {seconds} s at {RATE}/s with {FEATURES} features: {with_database:.0f} MB; "
          f"after {seconds} s more with Postgres stopped: {without:.0f} MB, {without / with_database:.2f}x")
    print(f"  {dict(settled(admin))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/driftline")
    parser.add_argument("--threads", type=int, default=1, help="workers of nginx, and of driftline's proxy")
    parser.add_argument("--seconds", type=int, default=10, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turns; the median is shown")
    parser.add_argument("--memory-seconds", type=int, default=300, help="length of each memory run; 0: none")
    options = parser.parse_args()
    for tool, package in [("nginx", "nginx"), ("wrk", "wrk"), ("h2load", "nghttp2-client")]:
        if not shutil.which(tool):
            sys.exit(f"`{tool}` is missing\n  hint: apt-get install {package}")
    if not os.access(options.binary, os.X_OK):
        sys.exit(f"`{options.binary}` is missing\n  hint: cargo build --release --bin driftline")
    options.binary = os.path.abspath(options.binary)
    folder = tempfile.mkdtemp(prefix="driftline-tap-")
    os.chmod(folder, 0o755)
    bench = Bench(folder, options)
    try:
        measure(bench, options)
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(bench, options):
    upstream = bench.upstream()
    driftline, admin, process = bench.driftline(upstream)
    ways = {
        "direct": upstream,
        "nginx": bench.nginx_proxy(upstream, mirror=False),
        "nginx with mirror": bench.nginx_proxy(upstream, mirror=True),
        "driftline": driftline,
    }
    print(f"bodies of {bench.body.stat().st_size} bytes, {options.threads} proxy thread(s), medians of {options.rounds} rounds\n")
    results = {name: ([], [], []) for name in ways}
    # Memory first: before anything has filled the process.
    if options.memory_seconds:
        memory(bench, driftline, admin, process, options.memory_seconds)
    spent, served = cpu_seconds(process.pid), settled(admin)["seen"]
    for _ in range(options.rounds):
        for name, port in ways.items():
            median, p99 = latency(bench, port, options.seconds)
            results[name][0].append(median)
            results[name][1].append(p99)
    for _ in range(options.rounds):
        for name, port in ways.items():
            results[name][2].append(highest_rate(bench, port, options.seconds))
    middle = {name: [sorted(values)[len(values) // 2] for values in three] for name, three in results.items()}
    direct, nginx, mirror = middle["direct"], middle["nginx"], middle["nginx with mirror"]
    print(f"{'':18} {'median µs':>10} {'added':>7} {'p99 µs':>8} {'added':>7} {'requests/s':>12} {'of nginx':>9} {'of mirror':>10}")
    for name, (median, p99, rate) in middle.items():
        print(f"{name:18} {median:>10} {median - direct[0]:>7} {p99:>8} {p99 - direct[1]:>7} {rate:>12.0f} "
              f"{rate / nginx[2]:>8.2f}x {rate / mirror[2]:>9.2f}x")
    ours = middle["driftline"]
    ratio = lambda at: (ours[at] - direct[at]) / max(nginx[at] - direct[at], 1)
    print(f"\nadded at {RATE}/s, against what nginx adds: median {ratio(0):.2f}x, p99 {ratio(1):.2f}x")
    totals = settled(admin)
    seconds = (cpu_seconds(process.pid) - spent) / (totals["seen"] - served)
    shed = totals["dropped"] + totals["sampled_out"]
    print(f"driftline: seen {totals['seen']} = kept {totals['kept']} + shed and counted {shed}; "
          f"{seconds * 1e6:.0f} µs of processor time per prediction; RSS {rss_mb(process.pid):.0f} MB")


if __name__ == "__main__":
    main()

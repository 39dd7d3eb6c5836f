"""Runs each tool as a process of its own and prints wall time and peak memory of each as a table."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and MiB of one run. It has to have printed something, for a Python error exits with 1 as drift does."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1) or os.fstat(out.fileno()).st_size == 0:
            err.seek(0)
            sys.exit(f"{command} failed with {process.returncode}: {err.read().decode()[-500:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    driftline, folder, *sizes = sys.argv[1:]
    here = Path(__file__).parent
    print(f"load average before: {os.getloadavg()[0]:.2f}, cores: {os.cpu_count()}")
    print("| rows against rows | tool | runs | median wall s | median CPU s | peak MiB | driftline is faster by (wall) | (CPU) |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in sizes:
        files = [f"{folder}/{side}_{rows}.parquet" for side in ("reference", "current")]
        tools = [
            ("driftline compare", [driftline, "compare", *files, "--json"], 5),
            ("driftline compare --exact", [driftline, "compare", *files, "--json", "--exact"], 3),
            ("scipy loop (KS, chi2)", [sys.executable, str(here / "with_scipy.py"), *files], 3),
            ("evidently DataDriftPreset", [sys.executable, str(here / "with_evidently.py"), *files], 1),
        ]
        own = None
        for name, command, times in tools:
            runs = [run(command) for _ in range(times)]
            wall, cpu = (statistics.median(run[at] for run in runs) for at in (0, 1))
            peak = max(run[2] for run in runs)
            own = own or (wall, cpu)
            figures = f"{wall:.2f} | {cpu:.2f} | {peak:.0f} | {wall / own[0]:.1f} | {cpu / own[1]:.1f}"
            print(f"| {int(rows):,} | {name} | {times} | {figures} |", flush=True)
    print(f"load average after: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()

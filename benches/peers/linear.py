"""Compares the trainer's linear models with scikit-learn on the same rows, and prints a table.

Usage: benches/peers/linear.sh [ROWS] [COLUMNS]      by default 1000000 and 50
"""

import json
import os
import subprocess
import sys
import time

import numpy
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge

PENALTIES = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
RUNS = 3


def rows_of(rows, columns, task):
    random = numpy.random.default_rng(7)
    mixed = random.normal(size=(columns, columns)) / numpy.sqrt(columns)
    inputs = random.normal(size=(rows, columns)) @ (numpy.eye(columns) + 0.5 * mixed)
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    truth = random.normal(size=columns)
    scores = inputs @ truth
    if task == "binary":
        return inputs, (random.uniform(size=rows) < 1 / (1 + numpy.exp(-scores))).astype(float)
    return inputs, scores + random.normal(size=rows)


def peer(task, penalty, rows):
    if task == "binary":
        return LogisticRegression(C=1 / (penalty * rows), tol=1e-7, max_iter=500)
    return Ridge(alpha=penalty * rows, solver="cholesky")


def timed(action):
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def load():
    return ", ".join(f"{part:.2f}" for part in os.getloadavg())


def main():
    program = sys.argv[1]
    place = sys.argv[2]
    rows = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    columns = int(sys.argv[4]) if len(sys.argv) > 4 else 50
    print(f"scikit-learn {sklearn.__version__}, numpy {numpy.__version__}, {os.cpu_count()} cores, load {load()} before")
    print("\n| model | rows x columns | driftline, 5 penalties (s) | scikit-learn, 1 penalty (s) | 5 penalties (s) "
          "| ratio to 1 | ratio to 5 | largest difference of a weight |")
    print("|---|---|---|---|---|---|---|---|")
    for task in ["regression", "binary"]:
        inputs, targets = rows_of(rows, columns, task)
        path = os.path.join(place, f"{task}.bin")
        with open(path, "wb") as out:
            out.write(numpy.ascontiguousarray(inputs).tobytes())
            out.write(targets.tobytes())
        own, one, five = [], [], []
        for _ in range(RUNS):
            told = json.loads(subprocess.check_output([program, path, str(rows), str(columns), task]))
            own.append(told["seconds"])
            one.append(timed(lambda: peer(task, told["l2"], rows).fit(inputs, targets))[0])
            five.append(timed(lambda: [peer(task, p, rows).fit(inputs, targets) for p in PENALTIES])[0])
        os.remove(path)
        fitted = peer(task, told["l2"], rows).fit(inputs, targets)
        difference = numpy.abs(fitted.coef_.ravel() - told["weights"]).max()
        difference = max(difference, abs(float(numpy.ravel(fitted.intercept_)[0]) - told["intercept"]))
        mine, single, grid = (float(numpy.median(times)) for times in (own, one, five))
        print(f"| {task} | {rows:,} x {columns} | {mine:.2f} | {single:.2f} | {grid:.2f} | {mine / single:.2f} "
              f"| {mine / grid:.2f} | {difference:.1e} |", flush=True)
    print(f"\nload {load()} after; medians of {RUNS} runs, the times of the fits alone")


main()

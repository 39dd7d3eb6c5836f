#!/usr/bin/env python3
"""Compares every model*.onnx beside this file with driftline's own answers, and measures them, in ONNX Runtime.

    pip install onnxruntime numpy        onnx as well, and its checker is asked too
    python verify.py                     exit status 1 when model.onnx is further than 1e-5 from driftline
    python verify.py --json
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-5


def feed(session, inputs):
    """What `session` wants of the sample; a missing number is NaN, a missing text is empty."""
    made = {}
    for wanted in session.get_inputs():
        values = inputs[wanted.name]
        if wanted.type == "tensor(string)":
            column = np.array(["" if value is None else value for value in values], dtype=object)
        elif wanted.type == "tensor(bool)":
            column = np.array(values, dtype=bool)
        else:
            column = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        made[wanted.name] = column.reshape(-1, 1)
    return made


def milliseconds(session, rows, repeats):
    """Median and 99th percentile of the time of one call."""
    for _ in range(10):
        session.run(None, rows)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        session.run(None, rows)
        times.append(time.perf_counter() - started)
    return [1e3 * float(np.quantile(times, share)) for share in (0.5, 0.99)]


def measure(path, sample, repeats):
    try:
        import onnx

        onnx.checker.check_model(str(path), full_check=True)
        checked = True
    except ImportError:
        checked = False
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rows = feed(session, sample["inputs"])
    expected = np.array(sample["prediction"], dtype=np.float64)
    (answer,) = session.run(None, rows)
    error = np.abs(answer - expected) / np.maximum(sample["scale"], np.abs(expected))
    one = {name: values[:1] for name, values in rows.items()}
    (one_median, one_tail), (all_median, _) = milliseconds(session, one, repeats), milliseconds(session, rows, repeats)
    return {
        "file": path.name, "bytes": path.stat().st_size, "checked_by_onnx": checked,
        "max_error": float(error.max()), "mean_error": float(error.mean()),
        "row_ms_median": one_median, "row_ms_p99": one_tail, "rows_per_second": 1e3 * sample["rows"] / all_median,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=500)
    arguments = parser.parse_args()
    sample = json.loads((HERE / "sample.json").read_text(encoding="utf-8"))
    paths = sorted(HERE.glob("model*.onnx"), key=lambda path: (path.name != "model.onnx", path.name))
    found = [measure(path, sample, arguments.repeats) for path in paths]
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{'file':<18}{'bytes':>10}{'max error':>12}{'mean error':>12}{'row p50':>11}{'row p99':>11}{'rows/s':>12}")
        for one in found:
            print(
                f"{one['file']:<18}{one['bytes']:>10}{one['max_error']:>12.2e}{one['mean_error']:>12.2e}"
                f"{one['row_ms_median']:>8.3f} ms{one['row_ms_p99']:>8.3f} ms{one['rows_per_second']:>12.0f}"
            )
        print("errors: |answer - driftline's| / max(scale of the target, |driftline's|), on made-up rows; one thread")
    return int(not found or found[0]["max_error"] > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())

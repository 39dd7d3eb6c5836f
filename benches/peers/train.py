"""Trains the same network on the same rows with PyTorch and with `driftline-trainer bench`, and prints the ratio.

Usage: python benches/peers/train.py [--trainer target/release/driftline-trainer] [--rows N] [--columns N] [--batch N]
       [--epochs N] [--threads N] [--runs N]
Needs the torch of `LIBTORCH` (2.13.0) and numpy. The two take turns; of each the fastest run counts, since what others do on
the machine only ever makes a run slower.
"""

import argparse
import json
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


def make(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    inputs = draw.uniform(-1, 1, (rows, columns)).astype(np.float32)
    targets = np.sin(3 * inputs[:, 0]) + inputs[:, 1] * inputs[:, 2] + 0.1 * draw.uniform(-1, 1, rows)
    return inputs, targets.astype(np.float32)


def write(path: Path, inputs: np.ndarray, targets: np.ndarray) -> None:
    """The two tensors as a safetensors file."""
    header, blobs, start = {}, [], 0
    for name, array in [("inputs", inputs), ("targets", targets)]:
        blob = array.tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, start + len(blob)]}
        start += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def train(inputs: np.ndarray, targets: np.ndarray, hidden: list[int], batch: int, epochs: int) -> dict:
    """What someone would write: shuffled batches of index_select, AdamW, clipped gradients, a validation loss."""
    held = len(targets) // 10
    x, y = torch.from_numpy(inputs[:-held]), torch.from_numpy(targets[:-held])
    held_x, held_y = torch.from_numpy(inputs[-held:]), torch.from_numpy(targets[-held:])
    torch.manual_seed(1)
    layers, width = [], inputs.shape[1]
    for units in hidden:
        layers += [nn.Linear(width, units), nn.ReLU()]
        width = units
    model = nn.Sequential(*layers, nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    started = time.perf_counter()
    best = float("inf")
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(y)).split(batch):
            loss = nn.functional.mse_loss(model(x.index_select(0, rows)).squeeze(1), y.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            best = min(best, nn.functional.mse_loss(model(held_x).squeeze(1), held_y).item())
    return {"seconds": time.perf_counter() - started, "train_loss": total / len(y), "validation_loss": best}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trainer", default="target/release/driftline-trainer")
    for name, value in [("rows", 100_000), ("columns", 50), ("batch", 256), ("epochs", 5), ("threads", 1), ("runs", 3)]:
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("--hidden", default="64,64,64")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    inputs, targets = make(given.rows, given.columns)
    hidden = [int(units) for units in given.hidden.split(",")]
    peer, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.safetensors"
        write(data, inputs, targets)
        command = [given.trainer, "bench", "--json", "--device", "cpu", "--data", str(data), "--hidden", given.hidden]
        for name in ["batch", "epochs", "threads"]:
            command += [f"--{name}", str(getattr(given, name))]
        for _ in range(given.runs):
            peer.append(train(inputs, targets, hidden, given.batch, given.epochs))
            ours.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    theirs, best = (min(runs, key=lambda run: run["seconds"]) for runs in (peer, ours))
    print(f"{given.rows} rows x {given.columns}, batch {given.batch}, {given.epochs} epochs, {given.threads} threads, "
          f"torch {torch.__version__}, fastest of {given.runs}")
    print(f"{'':10} {'seconds':>8} {'train loss':>11} {'validation':>11}")
    for name, run in [("PyTorch", theirs), ("driftline", best)]:
        print(f"{name:10} {run['seconds']:8.2f} {run['train_loss']:11.5f} {run['validation_loss']:11.5f}")
    print(f"driftline takes {best['seconds'] / theirs['seconds']:.2f}x the time of PyTorch; "
          f"{best['rows_per_second']:.0f} rows/s, {best['processors']:.2f} processors in use, "
          f"{100 * best['gathering']:.1f} % of the steps gathers their rows")


if __name__ == "__main__":
    main()

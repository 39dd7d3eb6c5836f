"""Writes reference and current data of ROWS rows: 20 numeric and 5 categorical columns, some of which drift."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd


def make(rows: int, seed: int, shift: float) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    columns = {}
    for i in range(20):
        moved = shift if i % 5 == 0 else 0.0
        columns[f"numeric_{i:02}"] = [
            lambda: draw.normal(10 + moved, 2, rows),
            lambda: draw.lognormal(2 + moved / 4, 1, rows),
            lambda: draw.gamma(2, 3 + moved, rows),
            lambda: draw.uniform(0, 1, rows) ** 2,
            lambda: draw.poisson(20 + moved, rows).astype(np.int64),
        ][i % 5]()
    for i, names in enumerate([3, 5, 12, 40, 200]):
        share = 1 / np.arange(1, names + 1) ** (1 + (shift if i == 2 else 0.0) / 4)
        labels = np.array([f"category_{k}" for k in range(names)], dtype=object)
        columns[f"category_{i}"] = labels[draw.choice(names, rows, p=share / share.sum())]
    return pd.DataFrame(columns)


def main() -> None:
    rows, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed, shift in [("reference", 1, 0.0), ("current", 2, 1.0)]:
        path = folder / f"{name}_{rows}.parquet"
        if not path.exists():
            make(rows, seed, shift).to_parquet(path, index=False)


if __name__ == "__main__":
    main()

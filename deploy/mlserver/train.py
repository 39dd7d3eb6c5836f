"""Trains the model of the example: how many bikes are rented in an hour, from the shipped data of 2011.

Writes a folder that MLServer serves, and `reference.csv`, what it was trained on with what it answers: the baseline's data.

    train.py DATA.csv FOLDER
"""

import csv
import json
import pathlib
import sys

import joblib
import numpy
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

MODEL = "bike-demand"
FEATURES = ["season", "hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed"]
TARGET = "cnt"
# What the model saw; everything later is the world going on without it.
UNTIL = "2012-01-01"


def main(data, folder):
    with open(data, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["timestamp"] < UNTIL]
    inputs = numpy.array([[float(row[name]) for name in FEATURES] for row in rows])
    target = numpy.array([float(row[TARGET]) for row in rows])
    # One thread: so few rows are slower with more.
    with threadpool_limits(1):
        model = HistGradientBoostingRegressor(max_iter=120, random_state=0).fit(inputs, target)

    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    # gzip would be the client's to ask for; here it only costs time.
    (folder / "settings.json").write_text(json.dumps({"parallel_workers": 0, "gzip_enabled": False}))
    (folder / "model-settings.json").write_text(json.dumps({
        "name": MODEL, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"},
    }))
    with open(folder / "reference.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow([*FEATURES, "predict"])
        out.writerows([*values, answer] for values, answer in zip(inputs.tolist(), model.predict(inputs).tolist()))
    print(f"{MODEL}: trained on {len(rows)} rows, R2 {model.score(inputs, target):.3f}, written to {folder}")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))

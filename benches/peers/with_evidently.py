"""What Evidently's own example does: DataDriftPreset with its defaults."""

import sys

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
snapshot = Report([DataDriftPreset()]).run(current, reference)
for metric in snapshot.dict()["metrics"]:
    if "DriftedColumnsCount" in str(metric):
        print(metric["value"])

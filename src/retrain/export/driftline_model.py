"""Loads a model that driftline exported, for mlflow.pyfunc: data frames in; out comes a data frame.

It has a column `prediction`, or a column with the probability of each class.
"""

import json
import pathlib

import numpy as np
import onnxruntime
import pandas as pd


class Model:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        properties = self.session.get_modelmeta().custom_metadata_map
        self.classes = json.loads(properties["driftline.classes"])
        self.times = set(json.loads(properties["driftline.times"]))

    def predict(self, data, params=None):
        if not isinstance(data, pd.DataFrame):
            data = pd.DataFrame(data)
        feed = {}
        for wanted in self.session.get_inputs():
            column = data[wanted.name]
            if wanted.type == "tensor(string)":
                values = column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)
            elif wanted.type == "tensor(bool)":
                values = column.to_numpy(dtype=bool)
            elif wanted.name in self.times and not pd.api.types.is_numeric_dtype(column):
                times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
                values = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(dtype=np.float64)
            else:
                values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
            feed[wanted.name] = values.reshape(-1, 1)
        (answer,) = self.session.run(None, feed)
        return pd.DataFrame(answer, columns=self.classes or ["prediction"], index=data.index)


def _load_pyfunc(path):
    folder = pathlib.Path(path)
    return Model(folder / "model.onnx" if folder.is_dir() else folder)

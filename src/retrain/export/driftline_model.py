"""Loads a model that driftline exported, for mlflow.pyfunc: data frames in, a data frame with `prediction` out."""

import pathlib

import numpy as np
import onnxruntime
import pandas as pd


class Model:
    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

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
            else:
                values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
            feed[wanted.name] = values.reshape(-1, 1)
        (answer,) = self.session.run(None, feed)
        return pd.DataFrame({"prediction": answer[:, 0]}, index=data.index)


def _load_pyfunc(path):
    folder = pathlib.Path(path)
    return Model(folder / "model.onnx" if folder.is_dir() else folder)

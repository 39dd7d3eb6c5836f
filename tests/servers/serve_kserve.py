"""A model in KServe's Python server, over V1, V2 and gRPC: the sum of each row."""

import sys

import numpy as np
from kserve import Model, ModelServer
from kserve.utils.utils import get_predict_input, get_predict_response


class Sums(Model):
    def __init__(self, name):
        super().__init__(name)
        self.ready = True

    def predict(self, payload, headers=None):
        rows = np.asarray(get_predict_input(payload), dtype=np.float64)
        return get_predict_response(payload, rows.sum(axis=1), self.name)


http_port, grpc_port = map(int, sys.argv[1:])
ModelServer(http_port=http_port, grpc_port=grpc_port, workers=1).start([Sums("sums")])

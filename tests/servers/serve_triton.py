"""A model in a real tritonserver: sums four numbers, repeats two as FP16, and names the sign of the sum."""

import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch
def infer(x):
    total = x.sum(axis=1, keepdims=True).astype(np.float32)
    label = np.where(total > 0, b"yes", b"no").astype(object)
    return {"score": total, "half": x[:, :2].astype(np.float16), "label": label}


http_port, grpc_port, metrics_port = map(int, sys.argv[1:])
config = TritonConfig(
    http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port,
    http_address="127.0.0.1", grpc_address="127.0.0.1",
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="sums",
        infer_func=infer,
        inputs=[Tensor(name="x", dtype=np.float32, shape=(4,))],
        outputs=[
            Tensor(name="score", dtype=np.float32, shape=(1,)),
            Tensor(name="half", dtype=np.float16, shape=(2,)),
            Tensor(name="label", dtype=bytes, shape=(1,)),
        ],
        config=ModelConfig(max_batch_size=16),
    )
    triton.serve()

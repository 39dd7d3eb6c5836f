"""Asks a real tritonserver through driftline, with tritonclient; prints what each request held and what came back."""

import queue
import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http

from report import case

http_address, grpc_address = sys.argv[1:]
ROWS = np.array([[5.5, 3.5, -1.25, 0.25], [-6.0, -3.0, 4.5, 1.5]], dtype=np.float32)
# FP16 keeps these exactly; the third value is a NaN, which is a value on the wire.
ODD = np.array([[1.0, 2.0, np.nan, 4.0]], dtype=np.float32)


def rows(sent, result):
    score, half, label = (result.as_numpy(name) for name in ("score", "half", "label"))
    return [
        {
            "features": dict(zip("abcd", map(float, row))),
            "outputs": {
                "score": float(score[i, 0]), "half[0]": float(half[i, 0]), "half[1]": float(half[i, 1]),
                "label": (label[i, 0].decode() if isinstance(label[i, 0], bytes) else str(label[i, 0])),
            },
        }
        for i, row in enumerate(sent)
    ]


def http_input(data, binary):
    tensor = http.InferInput("x", data.shape, "FP32")
    tensor.set_data_from_numpy(data, binary_data=binary)
    return [tensor]


def grpc_input(data):
    tensor = grpc.InferInput("x", data.shape, "FP32")
    tensor.set_data_from_numpy(data)
    return [tensor]


client = http.InferenceServerClient(http_address)
for name, data, binary, more in [
    ("http-binary", ROWS, True, {}),
    ("http-binary-nan", ODD, True, {}),
    ("http-binary-gzip-both", ROWS, True,
     {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}),
    ("http-binary-deflate-both", ROWS, True,
     {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"}),
]:
    result = client.infer("sums", http_input(data, binary), headers={"x-request-id": name}, **more)
    case(name, rows(data, result))
# FP16 cannot be had as JSON, so these two ask for the others only.
for name, binary_in in [("http-json", False), ("http-binary-in-json-out", True)]:
    outputs = [http.InferRequestedOutput(output, binary_data=False) for output in ("score", "label")]
    result = client.infer("sums", http_input(ROWS, binary_in), outputs=outputs, headers={"x-request-id": name})
    score, label = result.as_numpy("score"), result.as_numpy("label")
    case(name, [
        {"features": dict(zip("abcd", map(float, row))),
         "outputs": {"score": float(score[i, 0]), "label": str(label[i, 0])}}
        for i, row in enumerate(ROWS)
    ])

client = grpc.InferenceServerClient(grpc_address)
for name, more in [("grpc", {}), ("grpc-gzip", {"compression_algorithm": "gzip"})]:
    result = client.infer("sums", grpc_input(ROWS), headers={"x-request-id": name}, **more)
    case(name, rows(ROWS, result))

answers = queue.Queue()
client.start_stream(lambda result, error: answers.put(error or result), headers={"x-request-id": "grpc-stream"})
sent = [ROWS, ROWS + 1, ODD]
for at, data in enumerate(sent):
    client.async_stream_infer("sums", grpc_input(data), request_id=f"s{at}")
expected = []
for data in sent:
    answer = answers.get(timeout=30)
    if isinstance(answer, Exception):
        raise answer
    expected += rows(data, answer)
client.stop_stream()
case("grpc-stream", expected)

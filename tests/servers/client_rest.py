"""Asks MLServer, KServe, seldon-core or MLflow through driftline, with `requests`; prints what was sent and came back."""

import json
import sys

import requests

from report import case

server, base = sys.argv[1:]
ROWS = [[5.5, 3.5, -1.25, 0.25], [-6.0, -3.0, 4.5, 1.5]]
NAMES = list("abcd")


def post(name, path, body, **headers):
    kind = {} if any(key.lower() == "content-type" for key in headers) else {"content-type": "application/json"}
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    answer = requests.post(base + path, data=data, headers={"x-request-id": name, **kind, **headers}, timeout=60)
    answer.raise_for_status()
    return answer


def features(rows=None):
    return [dict(zip(NAMES, row)) for row in rows or ROWS]


def both(sent, outputs):
    return [{"features": row, "outputs": out} for row, out in zip(sent, outputs, strict=True)]


def v2_outputs(answer):
    """One dict per row of a V2 answer in which every output is `[N]` or `[N,1]`."""
    outputs = answer["outputs"]
    return [{o["name"]: o["data"][i] for o in outputs} for i in range(outputs[0]["shape"][0])]


def v2(data=None, shape=None, **more):
    rows = data or ROWS
    return {"id": "b1", "inputs": [{"name": "x", "shape": shape or [len(rows), 4], "datatype": "FP64", "data": rows}], **more}


def mlserver():
    path = "/v2/models/sums/infer"
    answer = post("json", path, v2()).json()
    case("json", both(features(), v2_outputs(answer)))
    flat = [value for row in ROWS for value in row]
    answer = post("flat", path, v2(flat, [2, 4])).json()
    case("flat", both(features(), v2_outputs(answer)))
    many = ROWS * 40
    answer = post("gzip-answer", path, v2(many), **{"accept-encoding": "gzip"})
    assert answer.headers.get("content-encoding") == "gzip", answer.headers
    case("gzip-answer", both(features(many), v2_outputs(answer.json())))
    frame = [
        {"name": "city", "datatype": "BYTES", "shape": [2], "parameters": {"content_type": "str"}, "data": ["Bonn", "Köln"]},
        {"name": "rooms", "datatype": "INT32", "shape": [2], "data": [3, 4]},
        {"name": "area", "datatype": "FP64", "shape": [2, 1], "data": [70.5, 99.25]},
    ]
    answer = post("data-frame", path, {"parameters": {"content_type": "pd"}, "inputs": frame}).json()
    sent = [{"city": "Bonn", "rooms": 3, "area": 70.5}, {"city": "Köln", "rooms": 4, "area": 99.25}]
    case("data-frame", both(sent, v2_outputs(answer)))
    answer = post("server-sent-events", "/v2/models/sums/infer_stream", v2())
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    case("server-sent-events", both(features(), v2_outputs(events[0])))


def kserve():
    for name, body in [("v1-instances", {"instances": ROWS}), ("v1-inputs", {"inputs": ROWS})]:
        answer = post(name, "/v1/models/sums:predict", body).json()
        case(name, both(features(), [{"prediction": value} for value in answer["predictions"]]))
    answer = post("v2", "/v2/models/sums/infer", v2()).json()
    case("v2", both(features(), v2_outputs(answer)))
    event = {
        "specversion": "1.0", "id": "e1", "source": "test", "type": "test.request", "time": "2026-01-31T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {"instances": ROWS},
    }
    kind = {"content-type": "application/cloudevents+json"}
    answer = post("structured-event", "/v1/models/sums:predict", event, **kind).json()
    answer = answer.get("data", answer)
    case("structured-event", both(features(), [{"prediction": value} for value in answer["predictions"]]))


def seldon():
    for name, data in [
        ("ndarray", {"names": NAMES, "ndarray": ROWS}),
        ("tensor", {"names": NAMES, "tensor": {"shape": [2, 4], "values": [value for row in ROWS for value in row]}}),
        ("without-names", {"ndarray": ROWS}),
    ]:
        answer = post(name, "/api/v1.0/predictions", {"data": data}).json()["data"]
        if "tensor" in answer:
            width = answer["tensor"]["shape"][1]
            values = answer["tensor"]["values"]
            got = [values[i:i + width] for i in range(0, len(values), width)]
        else:
            got = answer["ndarray"]
        case(name, both(features(), [dict(zip(answer["names"], row)) for row in got]))


def mlflow():
    csv = "a,b,c,d\n" + "".join(",".join(map(str, row)) + "\n" for row in ROWS)
    missing = [[0.0, 1.0, 2.0, 3.0], ROWS[0]]
    for name, body, sent, kind in [
        ("split", {"dataframe_split": {"columns": NAMES, "index": [0, 1], "data": ROWS}}, ROWS, None),
        ("records", {"dataframe_records": features()}, ROWS, None),
        ("instances", {"instances": ROWS}, ROWS, None),
        ("columns", {"inputs": {name: [row[j] for row in ROWS] for j, name in enumerate(NAMES)}}, ROWS, None),
        ("nan-in-answer", {"dataframe_split": {"columns": NAMES, "data": missing}}, missing, None),
        ("csv", csv, ROWS, "text/csv"),
    ]:
        headers = {"content-type": kind} if kind else {}
        text = post(name, "/invocations", body, **headers).text
        got = json.loads(text)["predictions"]
        case(name, both(features(sent), got))


{"mlserver": mlserver, "kserve": kserve, "seldon": seldon, "mlflow": mlflow}[server]()

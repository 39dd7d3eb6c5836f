"""Posts requests and answers as events of the `cloudevents` package; prints the status of every post.

Usage: cloudevents_emitter.py URL
"""

import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

URL = sys.argv[1]


def event(side, identity, data):
    attributes = {
        "id": identity,
        "source": "iris-predictor-default/é \"quoted\" 100%",
        "type": f"org.kubeflow.serving.inference.{side}",
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "time": datetime.now(timezone.utc),
        "inferenceservicename": "iris",
        "namespace": "default",
        "component": "predictor",
        "endpoint": "default",
    }
    return CloudEvent(attributes=attributes, data=data)


def post(message, body=None, content_type=None):
    headers = dict(message.headers)
    if content_type:
        headers["content-type"] = content_type
    request = urllib.request.Request(URL, data=body or message.body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(answer.status, answer.read().decode(), flush=True)


def pair(identity):
    asked = {"instances": [{"x": 1.5}, {"x": 2.5}]}
    answered = {"predictions": [{"y": 1}, {"y": 2}]}
    return event("request", identity, asked), event("response", identity, answered)


for one in pair("binary ä 1"):
    post(http.to_binary_event(one))
for one in reversed(pair("structured-1")):
    post(http.to_structured_event(one))
batch = [http.to_structured_event(one) for one in pair("batch-1")]
body = b"[" + b",".join(message.body for message in batch) + b"]"
post(batch[0], body, "application/cloudevents-batch+json")
# Delivered again, as a broker would.
for one in pair("structured-1"):
    post(http.to_structured_event(one))

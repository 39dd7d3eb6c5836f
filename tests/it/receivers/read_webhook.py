"""Reads a webhook with the official libraries: a request as JSON on stdin, the event's type on stdout.

Fails when the signature is not that of the body, or the CloudEvent is none.
"""

import json
import sys

from standardwebhooks import Webhook

request = json.load(sys.stdin)
body, headers = request["body"], request["headers"]
verified = Webhook(request["secret"]).verify(body, headers)
if request["format"] == "cloudevents":
    from cloudevents.core.bindings.http import HTTPMessage, from_structured
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    event = from_structured(HTTPMessage(headers=headers, body=body.encode()), JSONFormat(), CloudEvent)
    if event.get_id() != headers["webhook-id"] or event.get_data()["id"] != headers["webhook-id"]:
        raise SystemExit("the ids differ")
    print(event.get_type())
else:
    print(verified["type"])

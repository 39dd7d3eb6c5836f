"""A collector of OTLP over HTTP that reads requests with the protocol's own messages; one line of JSON per span.

Prints its port first.
"""

import http.server
import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        # What the messages do not know would stand here.
        assert request.SerializeToString() == body, "the request holds something else"
        for resource in request.resource_spans:
            of_resource = {pair.key: value_of(pair.value) for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    print(json.dumps({
                        "path": self.path, "type": self.headers["content-type"], "service": of_resource.get("service.name"),
                        "scope": scope.scope.name, "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(), "name": span.name, "kind": span.kind,
                        "start": span.start_time_unix_nano, "end": span.end_time_unix_nano,
                        "attributes": {pair.key: value_of(pair.value) for pair in span.attributes},
                        "status": span.status.code, "error": span.status.message,
                    }), flush=True)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Collector)
print(server.server_address[1], flush=True)
server.serve_forever()

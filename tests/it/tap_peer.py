"""gRPC and websockets that driftline did not write, as a server and as a client.

    tap_peer.py serve-grpc | serve-websocket      prints `ready PORT`, then one line per thing that it noticed
    tap_peer.py call-grpc | call-websocket ADDR   prints what the client saw, one line per call
"""

import json
import sys
import threading
from concurrent import futures

import grpc
import websockets.exceptions
import websockets.sync.client
import websockets.sync.server

ECHO = "/test.Echo/"


def say(*words):
    print(*words, flush=True)


def metadata(pairs):
    """Metadata as text, without what the library adds by itself."""
    kept = [(key, value.hex() if isinstance(value, bytes) else value) for key, value in pairs or ()]
    return sorted(pair for pair in kept if pair[0] not in ("user-agent", "traceparent"))


class Echo(grpc.GenericRpcHandler):
    """Methods of every shape on bytes."""

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self.unary),
        }
        return kinds.get(method)

    def unary(self, request, context):
        context.send_initial_metadata((("x-initial", "1"), ("x-bytes-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-trailing", "2"), ("x-trailing", "3")))
        seen = json.dumps([metadata(context.invocation_metadata()), len(request)])
        return seen.encode() + request

    def server_stream(self, request, context):
        for index in range(5):
            yield request + str(index).encode()
        context.set_trailing_metadata((("x-count", "5"),))

    def client_stream(self, requests, context):
        return b"|".join(requests)

    def bidi(self, requests, context):
        for request in requests:
            yield request[::-1]

    def fail(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: é%")

    def fail_late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "after one")

    def hang(self, request, context):
        gone = threading.Event()
        context.add_callback(lambda: (say("cancelled", request.decode()), gone.set()))
        say("hanging", request.decode())
        gone.wait(60)
        return b""


def serve_grpc():
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)]
    )
    server.add_generic_rpc_handlers((Echo(),))
    say("ready", server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def outcome(name, call):
    try:
        value, rpc = call()
        end = [str(rpc.code()), rpc.details(), metadata(rpc.initial_metadata()), metadata(rpc.trailing_metadata())]
        text = value if isinstance(value, list) else value[:300].decode("latin-1") + f" {len(value)}"
        say(name, json.dumps([text, end]))
    except grpc.RpcError as error:
        say(name, json.dumps([str(error.code()), error.details(), metadata(error.trailing_metadata())]))


def call_grpc(address):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        sent = (("x-one", "1"), ("x-one", "2"), ("x-raw-bin", b"\x00\x01\xfe"))
        unary = channel.unary_unary(ECHO + "Unary")
        outcome("unary", lambda: unary.with_call(b"hello", metadata=sent))
        outcome("large", lambda: unary.with_call(b"x" * 6_000_000))
        outcome("empty", lambda: unary.with_call(b""))
        gzip = grpc.Compression.Gzip
        outcome("gzip", lambda: unary.with_call(b"y" * 5000, compression=gzip))

        def stream():
            rpc = channel.unary_stream(ECHO + "ServerStream")(b"s")
            return [message.decode() for message in rpc], rpc

        outcome("server stream", stream)
        gather = channel.stream_unary(ECHO + "ClientStream")
        outcome("client stream", lambda: gather.with_call(iter([b"a", b"b", b"c"])))

        def bidi():
            # Each message is made only when the answer to the one before is here.
            turn = threading.Semaphore(1)

            def messages():
                for message in (b"abc", b"def", b"ghi"):
                    turn.acquire()
                    yield message

            rpc = channel.stream_stream(ECHO + "Bidi")(messages())
            answers = []
            for answer in rpc:
                answers.append(answer.decode())
                turn.release()
            return answers, rpc

        outcome("bidi", bidi)
        outcome("fail", lambda: channel.unary_unary(ECHO + "Fail").with_call(b""))

        def late():
            rpc = channel.unary_stream(ECHO + "FailLate")(b"")
            return [message.decode() for message in rpc], rpc

        outcome("fail late", late)
        outcome("unknown", lambda: channel.unary_unary(ECHO + "Nothing").with_call(b""))
        hang = channel.unary_unary(ECHO + "Hang")
        outcome("deadline", lambda: hang.with_call(b"deadline", timeout=0.5))
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        outcome("infer", lambda: infer.with_call(b"\x0a\x01m"))


def cancel_grpc(address):
    """Calls, and cancels when told to by a line on standard input."""
    with grpc.insecure_channel(address) as channel:
        rpc = channel.unary_unary(ECHO + "Hang").future(b"cancel")
        sys.stdin.readline()
        rpc.cancel()
        say("cancel", str(rpc.code()))


def serve_websocket():
    def handle(socket):
        try:
            for message in socket:
                socket.send(message[::-1])
        except websockets.exceptions.ConnectionClosedError as closed:
            say("closed", closed.rcvd.code, closed.rcvd.reason)

    with websockets.sync.server.serve(handle, "127.0.0.1", 0, max_size=None) as server:
        say("ready", server.socket.getsockname()[1])
        server.serve_forever()


def call_websocket(address):
    url = f"ws://{address}/v2/models/m/infer?ws=1"
    with websockets.sync.client.connect(url, max_size=None, additional_headers={"X-Mine": "1"}) as socket:
        for message in ("hello", "", b"\x00\x01\x02", b"z" * 300_000, "ü"):
            socket.send(message)
            answer = socket.recv()
            say("message", type(answer).__name__, len(answer), answer == message[::-1])
        say("ping", socket.ping().wait(10))
        say("extensions", [type(one).__name__ for one in socket.protocol.extensions])
        socket.close(4001, "enough")
        say("closed", socket.protocol.close_code, socket.protocol.close_reason)


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])

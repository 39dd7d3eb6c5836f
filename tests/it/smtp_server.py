"""A real SMTP server (aiosmtpd) for tests: prints `ready PORT`, then one JSON line per message received.

usage: smtp_server.py [--port N] [--tls CERT KEY] [--implicit] [--user USER PASSWORD] [--answer 'CODE TEXT']
                      [--refuse ADDRESS] [--hang | --hang-up]

It answers DATA with 354 and then never again (--hang), or closes the connection in mid-message (--hang-up).
"""

import argparse
import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Hanging(SMTP):
    async def smtp_DATA(self, arg):
        await self.push("354 go on")
        await asyncio.sleep(3600)


class HangingUp(SMTP):
    async def smtp_DATA(self, arg):
        await self.push("354 go on")
        await self._reader.read(200)
        self.transport.abort()


class Handler:
    def __init__(self, answer, refuse):
        self.answer = answer
        self.refuse = refuse

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == self.refuse:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answer:
            return self.answer
        say(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "data": base64.b64encode(envelope.original_content).decode(),
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "user": bool(session.authenticated),
        }))
        return "250 OK"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2)
    parser.add_argument("--implicit", action="store_true")
    parser.add_argument("--user", nargs=2)
    parser.add_argument("--answer")
    parser.add_argument("--refuse")
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--hang-up", action="store_true")
    args = parser.parse_args()

    context = None
    if args.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*args.tls)

    def authenticate(server, session, envelope, mechanism, data):
        given = [data.login.decode(), data.password.decode()]
        return AuthResult(success=given == args.user)

    def factory():
        options = {"hostname": "localhost"}
        if context and not args.implicit:
            options.update(tls_context=context, require_starttls=True)
        if args.user:
            options.update(authenticator=authenticate, auth_required=True,
                           auth_require_tls=not args.implicit)
        kind = Hanging if args.hang else HangingUp if args.hang_up else SMTP
        return kind(Handler(args.answer, args.refuse), **options)

    async def serve():
        implicit = context if args.implicit else None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", args.port, ssl=implicit)
        say(f"ready {server.sockets[0].getsockname()[1]}")
        await server.serve_forever()

    asyncio.run(serve())


main()

"""A proxy in front of an object store that misbehaves as it is told."""

from __future__ import annotations

import http.client
import http.server
import socket
import struct
import threading
import time
from contextlib import contextmanager

REFUSAL = "<Error><Code>{}</Code><Message>no</Message></Error>"


class FaultProxy(http.server.ThreadingHTTPServer):
    """Passes requests on, but for those that `fault` names a fault for.

    `fault(request)` is given "METHOD path?query" and returns None or one of
    `500`, `503`              an answer of that kind, without a request to the server
    `403 AccessDenied`        such an answer, with the code in its text; `deny` is this one
    `drop`                    the connection is cut, without one
    `lose`                    the server does it, and the answer is lost
    `truncate`                half of the answer's body is sent
    `hang`                    no answer, until the other side gives up
    or a function, which is called before the request is passed on.
    """

    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.fault = lambda _request: None
        self.requests = []
        self.refuses_quotes = False  # around an ETag, as Ceph's gateway does
        self.unheard = set()  # names of headers that the server does not get to see

    def handle_error(self, request, client_address):
        """Say nothing: connections are cut on purpose."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        """Say nothing."""

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path}"
        self.server.requests.append(request)
        fault = self.server.fault(request)
        if callable(fault):
            fault = fault()
        if self.server.refuses_quotes and '"' in self.headers.get("If-Match", ""):
            return self.refuse("412 PreconditionFailed")
        match fault:
            case "500" | "503":
                return self.answer(int(fault), b"")
            case "deny":
                return self.refuse("403 AccessDenied")
            case "drop":
                return self.cut()
            case "hang":
                time.sleep(30)
                return self.cut()
            case str() if fault[0].isdigit():
                return self.refuse(fault)
            case _:
                return self.pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815 - their names

    def pass_on(self, body, fault):
        connection = http.client.HTTPConnection(*self.server.upstream)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in self.server.unheard}
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        found = answer.read()
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(found)
        connection.close()
        if fault == "lose":
            return self.cut()
        kept = {"transfer-encoding", "connection", "content-length"}
        headers = [pair for pair in answer.getheaders() if pair[0].lower() not in kept]
        if fault == "truncate":
            self.answer(answer.status, found[: len(found) // 2], headers, length)
            return self.cut()
        return self.answer(answer.status, found, headers, length)

    def refuse(self, fault):
        status, code = fault.split()
        self.answer(int(status), REFUSAL.format(code).encode())

    def answer(self, status, body, headers=(), length=None):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", len(body) if length is None else length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def cut(self):
        """Reset the connection, as one that breaks does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@contextmanager
def running(upstream):
    """Serve a proxy of a server on a free port."""
    proxy = FaultProxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    yield proxy
    proxy.shutdown()
    proxy.server_close()
    thread.join()

"""Google Cloud Storage as far as obstore uses it: its headers translated, in front of moto's S3.

No emulator speaks the XML interface that obstore's uploads use. A fake: it shows that we ask for
the right things, not what Google answers.
"""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager

SIGNED = (
    "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=x"
)


class StandIn:
    """A WSGI application: objects with generations, which a condition may name."""

    def __init__(self, s3):
        self._s3 = s3
        self._generations = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # one request at a time: a condition and its write are one

    def __call__(self, environ, start_response):
        with self._lock:
            return self._answer(environ, start_response)

    def _answer(self, environ, start_response):
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
            environ["HTTP_AUTHORIZATION"] = SIGNED
        wanted = environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None)
        if wanted is not None and method == "PUT" and int(wanted) != self._generations.get(path, 0):
            start_response("412 Precondition Failed", [("Content-Length", "0")])
            return [b""]

        def start(status, headers, *rest):
            if status < "300":
                self._note(method, path, environ.get("QUERY_STRING", ""))
            if path in self._generations:
                headers = [*headers, ("x-goog-generation", str(self._generations[path]))]
            return start_response(status, headers, *rest)

        return list(self._s3(environ, start))

    def _note(self, method, path, query):
        """Give what was written a new generation: by one request, or by the end of an upload."""
        is_part = "partNumber" in query
        if (method == "PUT" and not is_part) or (method == "POST" and "uploadId=" in query):
            self._generations[path] = next(self._numbers)
        elif method == "DELETE" and "uploadId" not in query:
            self._generations.pop(path, None)


@contextmanager
def running():
    """Serve it on a free port; yields the address."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = StandIn(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[:2]
    server.shutdown()
    server.server_close()
    thread.join()

"""A proxy before a server that cuts the connection when it is told to commit."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Proxy:
    """Passes bytes on, until `cut` says when not to: `before` or `after` the server has them.

    Once; or each time, by a list of these.
    """

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut = None
        self.refuses = self.refuses_after_a_cut = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _next_cut(self):
        if isinstance(self.cut, list):
            return self.cut.pop(0)
        when, self.cut = self.cut, None
        return when

    def _pass(self, client, server):
        with client, server, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is client and self.cut and data.endswith(b"COMMIT\0"):
                        when = self._next_cut()
                        self.cuts += 1
                        self.refuses = self.refuses_after_a_cut
                        if when == "after":
                            server.sendall(data)
                            server.recv(65_536)  # its answer, which nobody gets
                        return
                    (server if source is client else client).sendall(data)

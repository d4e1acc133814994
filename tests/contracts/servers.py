"""Object stores on this machine: started once, asked for a new place by each test."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import NamedTuple
from unittest.mock import patch

KEYS = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Server(NamedTuple):
    """A server, and how to name a place there: `{}` is where its prefix goes."""

    pattern: str
    address: tuple[str, int]

    def place(self) -> str:
        return self.pattern.format(f"place-{next(_numbers)}")


_numbers = itertools.count(1)


@contextmanager
def moto():
    """S3, by moto."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    make_bucket(endpoint, "store")
    with patch.dict(os.environ, {key.upper(): value for key, value in KEYS.items()}):
        yield Server(f"s3://store/{{}}?region=us-east-1&endpoint={endpoint}", (host, port))
    server.stop()


def make_bucket(endpoint, name):
    import boto3

    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **KEYS)
    s3.create_bucket(Bucket=name)

"""Object stores on this machine: started once, asked for a new place by each test."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

# Real servers too, which may have to be installed: `make test-servers`.
ON_SERVERS = bool(os.environ.get("CHECKPOINTDB_TEST_SERVERS"))
REAL = [pytest.param("ceph", marks=pytest.mark.servers)] if ON_SERVERS else []

KEYS = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
AZURITE = "azurite@3.35.0"
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = (  # that of every Azurite
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Server(NamedTuple):
    """A server, and how to name a place there: `{}` is where its prefix goes."""

    pattern: str
    address: tuple[str, int]

    def place(self) -> str:
        return self.pattern.format(f"place-{next(_numbers)}")


_numbers = itertools.count(1)


# --- S3


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
        yield Server(f"s3://store/{{}}?endpoint={endpoint}&region=us-east-1", (host, port))
    server.stop()


def make_bucket(endpoint, name, keys=KEYS):
    import boto3

    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    s3.create_bucket(Bucket=name)


def endpoint_of(server):
    """Return the URL of a server that speaks S3, as AWS's own tools take it."""
    return "http://{}:{}".format(*server.address)


def own_bucket(server):
    """Make a bucket that nobody else uses, and return its name."""
    name = f"bucket-{next(_numbers)}"
    make_bucket(endpoint_of(server), name)
    return name


def ceph_is_here():
    """Say whether Ceph's programs are here; they are installed if root can, and if it is wished."""
    packages = ["radosgw", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-common"]
    if all(map(shutil.which, ("radosgw", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph"))):
        return True
    if os.geteuid() or shutil.which("apt-get") is None:
        return False
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    return subprocess.run(install, check=False).returncode == 0


@contextmanager
def ceph(directory):
    """S3, by the gateway of a real Ceph."""
    port = free_port()
    script = str(Path(__file__).parent / "servers" / "ceph.sh")
    with (directory / "said").open("w") as said:
        up = [script, str(directory), "up", str(port)]
        subprocess.run(up, check=True, stdout=said, stderr=said, timeout=180)
    try:
        make_bucket(f"http://127.0.0.1:{port}", "store")
        with patch.dict(os.environ, {key.upper(): value for key, value in KEYS.items()}):
            place = f"s3://store/{{}}?endpoint=http://127.0.0.1:{port}&region=us-east-1"
            yield Server(place, ("127.0.0.1", port))
    finally:
        subprocess.run([script, str(directory), "down"], check=False)


# --- Google Cloud Storage


@contextmanager
def gcs(directory):
    """A stand-in for Google's, in front of moto."""
    import gcs_stand_in

    with gcs_stand_in.running() as (host, port):
        endpoint = f"http://{host}:{port}"
        make_bucket(endpoint, "googlestore")
        account = directory / "account.json"
        secrets = {"client_email": "anybody", "private_key_id": "1", "private_key": "none"}
        account.write_text(json.dumps({"gcs_base_url": endpoint, "disable_oauth": True, **secrets}))
        with patch.dict(os.environ, {"GOOGLE_SERVICE_ACCOUNT": str(account)}):
            yield Server(f"gs://googlestore/{{}}?endpoint={endpoint}", (host, port))


# --- Azure


def azurite_program():
    """Return the path of Azurite, put below .venv by npm at first; None where there is no npm."""
    home = Path(sys.prefix) / "azurite"
    program = home / "node_modules" / ".bin" / "azurite-blob"
    npm = shutil.which("npm")
    if npm is None:
        return None
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes, one installs it
        if not program.exists():
            quiet = ["--no-audit", "--no-fund", "--silent", "--prefix", str(home)]
            done = subprocess.run([npm, "install", *quiet, AZURITE], check=False)
            if done.returncode:
                return None
    return program


@contextmanager
def azurite(program):
    """Azure's blobs, by Azurite; what it holds is in its memory alone."""
    port = free_port()
    options = ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    process = subprocess.Popen(
        [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        make_container(port, "store")
        endpoint = f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}"
        with patch.dict(os.environ, {"AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY}):
            place = f"az://store/{{}}?account={AZURITE_ACCOUNT}&endpoint={endpoint}"
            yield Server(place, ("127.0.0.1", port))
    finally:
        process.terminate()
        process.wait()


def make_container(port, name):
    """Make a container, which obstore does not: a request signed by the account's key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = "".join(f"{key}:{value}\n" for key, value in headers.items())
    resource = f"/{AZURITE_ACCOUNT}/{AZURITE_ACCOUNT}/{name}\nrestype:container"
    text = "PUT" + "\n" * 12 + signed + resource
    key = hmac.new(base64.b64decode(AZURITE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {AZURITE_ACCOUNT}:{base64.b64encode(key).decode()}"
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{AZURITE_ACCOUNT}/{name}?restype=container", headers=headers)
    assert connection.getresponse().status == 201
    connection.close()


# --- ports


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(port, process, seconds=60):
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"no server at port {port}")

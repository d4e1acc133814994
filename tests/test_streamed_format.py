"""Streams in a payload: what the page on the format says, made by its words alone."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from struct import pack

import pytest
from blake3 import blake3

from checkpointdb import StreamedValue
from checkpointdb.local_payloads import LocalReader
from checkpointdb.manifests import read_manifest
from checkpointdb.sealing import PLAIN

SCRIPT = Path(__file__).parents[1] / "examples" / "recover.py"
HEADER = b"stream 1\n"
BODY = random.Random(9).randbytes(1_500_000)
CUTS = (266_190, 374_814, 338_737, 296_505, 223_754)
# Of that body: another one would store again what older stores hold.
DIGEST = "378419cb46763cbadf93b57e5e8e61caa5ba5d1c227bef329f46e2b221daa61f"


def manifest_of(handle, checkpoint_id):
    path = handle.get_checkpoint_info(checkpoint_id).file_path
    with LocalReader(path) as reader:
        return read_manifest(reader, "p-default/0000000001-x.ckpt.gz", PLAIN)


@pytest.mark.parametrize(("body", "cuts"), [(BODY, CUTS), (b"", ()), (b"one", (3,))])
def test_a_stream_is_a_header_and_a_body_in_chunks(archive, body, cuts):
    archive.save({"stream": StreamedValue(body)}, "x")
    manifest = manifest_of(archive, "x")
    [value] = manifest.values
    chunks = [each for member in manifest.members for each in member.chunks]
    assert (value.serializer, value.layout) == ("stream", (len(HEADER), len(body)))
    assert tuple(chunks[number].raw_bytes for number in value.chunks[1:]) == cuts
    ends = zip(cuts, accumulate(cuts), strict=True)
    parts = [HEADER, *(body[end - cut : end] for cut, end in ends)]
    named = [blake3(part).digest() for part in parts]
    assert value.digest == value_digest(body, named)
    assert [chunks[number].digest for number in value.chunks] == (named if cuts else [None])


def value_digest(body, named):
    layout = pack("<B3Q", 6, 2, len(HEADER), len(body))
    return blake3(b"".join((b"value", layout, b"stream", *named))).digest()


def test_the_digest_of_a_stream_stays_what_it_is(archive):
    archive.save({"stream": StreamedValue(BODY)}, "x")
    assert manifest_of(archive, "x").values[0].digest.hex() == DIGEST


def test_the_script_recovers_streams_with_the_standard_library_alone(archive):
    archive.save({"stream": StreamedValue(BODY), "none": StreamedValue(b""), "n": 1}, "x")
    path = archive.get_checkpoint_info("x").file_path
    command = [sys.executable, "-I", "-S", SCRIPT, path]
    found = subprocess.run(command, capture_output=True, check=True)
    assert pickle.loads(found.stdout) == {"stream": BODY, "none": b"", "n": 1}

"""Look for payloads and manifests that are neither read nor refused, guided by coverage.

    make fuzz                 # a minute; ARGS=-max_total_time=3600 for an hour

Needs atheris, which has wheels for Linux alone; `test_fuzz.py` asks the same of Hypothesis. What is
found is written to the current directory as `crash-…`: put it into `corpus/`, where
`test_what_found_something_once_…` replays it, and mend the reader.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["checkpointdb.format", "checkpointdb.manifest"]):
    from checkpointdb import CorruptionError
    from checkpointdb.manifest import decode_manifest, encode_manifest

from forging import put_together, read_payload

CORPUS = Path(__file__).parent / "corpus"
_SCRATCH = Path(tempfile.mkdtemp()) / "fuzzed.ckpt.gz"


def test_one_input(data: bytes) -> None:
    """Take the input for a payload, for a manifest, and for a manifest under right hashes."""
    for payload in (data, put_together(b"", data)):
        _SCRATCH.write_bytes(payload)
        with suppress(CorruptionError):
            read_payload(_SCRATCH)
    with suppress(CorruptionError):
        manifest = decode_manifest(data)
        assert decode_manifest(encode_manifest(manifest)) == manifest


def seeds() -> Path:
    """The corpus and its manifests, as files to begin with."""
    directory = Path(tempfile.mkdtemp())
    for path in CORPUS.iterdir():
        payload = path.read_bytes()
        (directory / path.name).write_bytes(payload)
        start = int.from_bytes(payload[-58:-50], "little")
        (directory / f"{path.name}.json").write_bytes(gzip.decompress(payload[start:-84]))
    return directory


if __name__ == "__main__":
    atheris.Setup([*sys.argv, str(seeds())], test_one_input)
    atheris.Fuzz()

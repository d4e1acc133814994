"""Bombs and lies about length: refused in a bounded time, with a bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attacked import OPTIONS, alter, attack
from forging import forged, gzipped, put_together, taken_apart
from isal import isal_zlib

from checkpointdb import CorruptionError, InvalidInputError, PipelineCheckpoint, format
from checkpointdb.manifest import MANIFEST_BYTES
from checkpointdb.store import packer

HERE = Path(__file__).parent
needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory need Linux")

# In a process of its own, that may have 1 GiB of addresses in all, and 60 seconds.
PROGRAM = """
import pathlib, resource, sys
sys.path[:0] = [{here!r}]
import checkpointdb, checkpointdb.check, checkpointdb.rebuild, numpy
from attacked import IDS, OPTIONS, assert_ours
from checkpointdb import PipelineCheckpoint
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
directory = sys.argv[1]
if sys.argv[2] == "rebuild":
    print(PipelineCheckpoint.rebuild(directory).unreadable)
else:
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        for each in IDS:
            assert_ours(lambda: handle.load(each))
        assert_ours(lambda: handle.load("one", verify_hash=False))
        assert_ours(lambda: handle.load("one", keys=["text"]))
        print(handle.check(read_data=True).problems)
# Not ru_maxrss: a process begins with that of the one which it was forked from.
told = pathlib.Path("/proc/self/status").read_text().splitlines()
print("peak", next(int(line.split()[1]) >> 10 for line in told if line.startswith("VmHWM:")))
"""


def run(directory, act):
    program = PROGRAM.format(here=str(HERE))
    done = subprocess.run(
        [sys.executable, "-c", program, directory, act],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_database(directory):
    for path in directory.glob("checkpoints.db*"):
        path.unlink()
    return directory


def payload(directory, checkpoint_id="one"):
    [path] = (directory / "payloads").glob(f"p-*/*-{checkpoint_id}.ckpt.gz")
    return path


def bomb(size, fill=b" ", head=b""):
    """A gzip member that is a small part of what it decompresses to."""
    compress = isal_zlib.compressobj(1, wbits=31)
    block = fill * ((1 << 20) // len(fill))
    pieces = [compress.compress(head), *(compress.compress(block) for _ in range(size >> 20))]
    return b"".join([*pieces, compress.flush()])


def write(path, member):
    """Write a payload that is a manifest member alone, with a right footer."""
    path.write_bytes(member + format.encode_footer(format.footer_of(0, member)))


# --- manifests


@needs_limits
@pytest.mark.parametrize("size", [1 << 30, 4 << 30], ids=["1 GiB", "4 GiB"])
def test_a_manifest_that_is_a_bomb_costs_a_rebuild_that_file_alone(copy, size):
    directory = without_database(copy())
    path = payload(directory, "three")
    write(path, bomb(size))  # 4 GiB claim a length of 0, as ISIZE is modulo 2³²
    told = run(directory, "rebuild")
    assert path.name in told
    assert int(told.split()[-1]) < 400


@needs_limits
def test_a_manifest_that_claims_gigabytes_and_has_none_is_refused(copy):
    directory = without_database(copy())
    path = payload(directory, "three")
    _, document = taken_apart(path.read_bytes())
    liars = []
    for claimed in (0xFFFFFFFF, MANIFEST_BYTES, 1):
        member = gzipped(json.dumps(document).encode())[:-4] + claimed.to_bytes(4, "little")
        liars.append(path.with_name(f"{claimed:010}-three.ckpt.gz"))
        write(liars[-1], member)
    path.unlink()
    told = run(directory, "rebuild")  # of all three in one process: to start it takes longest
    assert all(liar.name in told for liar in liars)


@needs_limits
def test_a_sparse_file_of_gigabytes_is_refused_without_reading_it(copy):
    directory = copy()
    path = payload(directory)
    footer = format.encode_footer(format.Footer(0, (8 << 30) - 84, bytes(32)))
    with path.open("wb") as file:
        file.truncate((8 << 30) - 84)
        file.seek(0, 2)
        file.write(footer)
    if path.stat().st_blocks > 1_000:
        pytest.skip("this file system has no sparse files")
    told = run(without_database(directory), "rebuild")
    assert path.name in told
    assert int(told.split()[-1]) < 400


@needs_limits
@pytest.mark.parametrize("item", [b"[", b"[],"], ids=["deep", "wide"])
def test_lists_within_lists_are_refused_when_memory_ends(copy, item):
    directory = without_database(copy())
    path = payload(directory, "three")
    write(path, bomb(64 << 20, item, b'{"members":['))
    assert path.name in run(directory, "rebuild")


def test_a_state_that_takes_too_much_to_describe_is_refused_and_nothing_is_saved(
    archive, monkeypatch
):
    """The limit itself would take minutes: a smaller one stands in for it."""
    monkeypatch.setattr(packer, "MANIFEST_BYTES", 10_000)
    archive.save({"a": 1}, "small")
    with pytest.raises(InvalidInputError, match="fewer keys at once"):
        archive.save({f"key {number}": number for number in range(1_000)}, "large")
    assert [each.checkpoint_id for each in archive.list_checkpoints()] == ["small"]


# --- members


@needs_limits
def test_a_member_that_is_a_bomb_is_refused_by_a_load(copy):
    """Rows and manifest say a megabyte at most; what more there is, is never decompressed."""
    directory = copy()
    path = payload(directory)
    _, document = taken_apart(path.read_bytes())
    member = bomb(1 << 30)
    document["members"][0][1] = len(member)
    path.write_bytes(put_together(member, json.dumps(document).encode()))
    assert alter(directory, "PRAGMA foreign_keys = OFF")
    statements = (
        f"UPDATE payloads SET stored_bytes = {path.stat().st_size} WHERE name LIKE '%-one.ckpt.gz'",
        f"UPDATE members SET stored_bytes = {len(member)} WHERE payload_id = 1",
    )
    assert alter(directory, *statements)
    told = run(directory, "load")
    assert path.name in told
    assert int(told.split()[-1]) < 400


@needs_limits
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE members SET raw_bytes = 1 << 40",
        "UPDATE members SET stored_bytes = 1 << 40",
        'UPDATE members SET "offset" = 1 << 40',
        "UPDATE payloads SET stored_bytes = 1 << 40",
        "UPDATE state_values SET layout = '1099511627776', raw_bytes = 1 << 40",
        "UPDATE chunks SET raw_bytes = 1 << 40",
        "UPDATE checkpoints SET state_bytes = 1 << 50, key_count = 1 << 30",
    ],
)
def test_rows_that_claim_terabytes_are_refused_before_memory_is_taken(copy, statement):
    directory = copy()
    assert alter(directory, statement)
    assert int(run(directory, "load").split()[-1]) < 400


# --- files


@pytest.mark.parametrize("tail", [b"\0", b"x" * 5_000, gzipped(b"more")], ids=repr)
def test_what_is_behind_a_payload_is_told_by_check_and_load_with_the_file(copy, tail):
    directory = copy()
    path = payload(directory)
    path.write_bytes(path.read_bytes() + tail)
    with PipelineCheckpoint(directory, **OPTIONS) as handle:
        with pytest.raises(CorruptionError, match=path.name):
            handle.load("one")
        assert path.name in str(handle.check().problems)
    attack(directory)


LIES = {
    "a member that overlaps the next": lambda document: document["members"].append(
        document["members"][0]
    ),
    "a member behind the file": lambda document: document["members"][0].__setitem__(0, 1 << 40),
    "a member of gigabytes": lambda document: document["members"][0].__setitem__(1, 1 << 40),
    "a chain that goes on from itself": lambda document: document["checkpoints"][0].update(
        forked_from=[document["checkpoints"][0]["chain"], document["checkpoints"][0]["depth"]]
    ),
    "a path as an id": lambda document: document["checkpoints"][0].update(id="../../outside"),
    "a path as a pipeline": lambda document: document["checkpoints"][0].update(pipeline="../../x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_rebuild_is_not_led_astray_by_what_a_manifest_claims(copy, tmp_path, lie):
    directory = without_database(copy())
    path = payload(directory, "three")
    path.write_bytes(forged(path.read_bytes(), LIES[lie]))
    before = sorted(tmp_path.iterdir())
    report = PipelineCheckpoint.rebuild(directory)
    assert {"one", "two"} <= set(report.checkpoints)
    assert sorted(tmp_path.iterdir()) == before
    attack(directory)


def test_bases_that_go_round_in_a_circle_are_rebuilt_and_loaded(copy):
    directory = without_database(copy())
    one, three = payload(directory, "one"), payload(directory, "three")
    chains = {
        path: taken_apart(path.read_bytes())[1]["checkpoints"][0]["chain"] for path in (one, three)
    }
    for path, other in ((one, three), (three, one)):
        circle = {"forked_from": [chains[other], 0]}
        path.write_bytes(
            forged(path.read_bytes(), lambda found, new=circle: found["checkpoints"][0].update(new))
        )
    assert {"one", "two", "three"} <= set(PipelineCheckpoint.rebuild(directory).checkpoints)
    attack(directory)

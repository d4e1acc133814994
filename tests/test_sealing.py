"""Members sealed, and every way to put another where one belongs."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from checkpointdb.chunking import cut_stream
from checkpointdb.digests import Digests
from checkpointdb.errors import CorruptionError
from checkpointdb.format import compress_member, decompress_member
from checkpointdb.keyring import Secrets
from checkpointdb.local_payloads import LocalReader
from checkpointdb.sealing import (
    DATA,
    HEADER_BYTES,
    MANIFEST,
    OVERHEAD_BYTES,
    PLAIN,
    Sealed,
)

NAME = "p-a/0000000007-c1.ckpt.gz"
RAW = b"some text, and more of it " * 99


def secrets(epoch=1, epochs=(1,)):
    return Secrets(
        os.urandom(16), 1, epoch, {each: os.urandom(32) for each in epochs}, os.urandom(32)
    )


def sealed_by(found):
    return Sealed(found, lambda: found)


OURS = sealed_by(secrets(2, (1, 2)))


@pytest.fixture
def payload(tmp_path):
    """Write a header and some bytes, and return what opens it."""
    readers = []

    def open_payload(data):
        path = tmp_path / f"{len(readers)}"
        path.write_bytes(data)
        readers.append(LocalReader(path))
        return readers[-1]

    yield open_payload
    for reader in readers:
        reader.close()


def sealed(cipher=OURS, name=NAME, kind=DATA, sequence=3):
    seal = cipher.begin(name)
    return seal.header, b"".join(seal.seal(kind, sequence, compress_member(RAW, "fast")))


def test_what_was_sealed_comes_back_with_its_sequence(payload):
    header, member = sealed()
    sequence, packed = OURS.open(NAME, payload(header)).unseal(DATA, member)
    assert sequence == 3
    assert decompress_member(packed, len(RAW)) == RAW


def test_a_sealed_member_is_twenty_bytes_longer_and_shows_nothing():
    pieces = compress_member(RAW, "stored")
    member = b"".join(OURS.begin(NAME).seal(DATA, 0, pieces))
    assert len(member) == sum(map(len, pieces)) + OVERHEAD_BYTES == sum(map(len, pieces)) + 20
    assert RAW[:16] not in member


def test_the_same_content_is_never_sealed_alike():
    assert len({sealed() for _ in range(20)}) == 20


def test_the_sequence_in_a_name_is_not_known_yet_when_it_is_sealed(payload):
    header, member = sealed(name="p-a/0000000000-c1.ckpt.gz")
    assert OURS.open("p-a/0000000123-c1.ckpt.gz", payload(header)).unseal(DATA, member)


@pytest.mark.parametrize(
    "name", ["p-b/0000000007-c1.ckpt.gz", "p-a/0000000007-c2.ckpt.gz", "p-a/0000000007-c1x.ckpt.gz"]
)
def test_a_payload_under_the_name_of_another_is_refused(payload, name):
    header, member = sealed()
    with pytest.raises(CorruptionError, match="moved here"):
        OURS.open(name, payload(header)).unseal(DATA, member)


def test_a_member_of_another_file_with_the_same_name_is_refused(payload):
    header, _ = sealed()
    _, older = sealed()
    with pytest.raises(CorruptionError, match="moved here"):
        OURS.open(NAME, payload(header)).unseal(DATA, older)


def test_a_member_that_claims_another_sequence_is_refused(payload):
    header, member = sealed()
    forged = (4).to_bytes(4, "little") + member[4:]
    with pytest.raises(CorruptionError, match="moved here"):
        OURS.open(NAME, payload(header)).unseal(DATA, forged)


def test_data_is_no_manifest_and_a_manifest_no_data(payload):
    header, member = sealed()
    with pytest.raises(CorruptionError, match="moved here"):
        OURS.open(NAME, payload(header)).unseal(MANIFEST, member)


def test_every_changed_byte_of_header_or_member_is_noticed(payload):
    header, member = sealed()
    whole = header + member
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(CorruptionError):
            OURS.open(NAME, payload(changed)).unseal(DATA, bytes(changed[HEADER_BYTES:]))


def test_every_cut_is_noticed(payload):
    header, member = sealed()
    seal = OURS.open(NAME, payload(header))
    for length in range(len(member)):
        with pytest.raises(CorruptionError, match="moved here"):
            seal.unseal(DATA, member[:length])
    for length in range(HEADER_BYTES):
        with pytest.raises(CorruptionError, match="not sealed"):
            OURS.open(NAME, payload(header[:length]))


def test_an_older_master_key_still_opens_and_the_newer_one_seals(payload):
    both = secrets(2, (1, 2))
    header, member = sealed(sealed_by(both._replace(epoch=1)))
    seal = sealed_by(both).open(NAME, payload(header))
    assert (seal.epoch, seal.unseal(DATA, member)[0]) == (1, 3)
    assert sealed_by(both).begin(NAME).epoch == 2


def test_a_payload_of_another_store_is_refused(payload):
    header, member = sealed(sealed_by(secrets(2, (2,))))
    with pytest.raises(CorruptionError, match="moved here"):
        OURS.open(NAME, payload(header)).unseal(DATA, member)


def test_an_unknown_master_key_is_named(payload):
    header, _ = sealed(sealed_by(secrets(9, (9,))))
    with pytest.raises(CorruptionError, match=r"master key 9, the keyring has 1, 2"):
        OURS.open(NAME, payload(header))


def test_a_later_format_says_to_upgrade(payload):
    header = bytearray(sealed()[0])
    header[8] += 1
    with pytest.raises(CorruptionError, match="upgrade checkpointdb"):
        OURS.open(NAME, payload(header))


def test_an_encrypted_store_refuses_a_plain_payload_and_a_plain_one_a_sealed(payload):
    plain = b"".join(compress_member(RAW, "fast"))
    with pytest.raises(CorruptionError, match="not sealed"):
        OURS.open(NAME, payload(plain * 9))
    header, member = sealed()
    with pytest.raises(CorruptionError, match=r"keyring\.json"):
        PLAIN.open(NAME, payload(header)).unseal(DATA, member)


def test_digests_and_cuts_are_those_of_a_store_whatever_its_master_key():
    before = secrets()
    after = before._replace(epoch=2, masters={2: os.urandom(32)})
    text = os.urandom(1 << 20)
    assert sealed_by(before).digests.chunk(RAW) == sealed_by(after).digests.chunk(RAW)
    assert sealed_by(before).seed == sealed_by(after).seed
    others = [sealed_by(secrets()), PLAIN]
    found = [each.digests.chunk(RAW) for each in (*others, OURS)]
    cuts = [tuple(cut_stream(text, each.seed)) for each in (*others, OURS)]
    assert len(set(found)) == len(set(cuts)) == 3


def test_a_keyed_state_is_that_of_one_checkpoint_and_a_plain_one_of_any():
    pairs = [("a", b"1" * 32), ("b", b"2" * 32)]
    places = [("p", "c"), ("p", "d"), ("q", "c"), ("pc", ""), ("", "pc")]
    assert len({OURS.digests.state(*place, pairs) for place in places}) == len(places)
    assert len({Digests().state(*place, pairs) for place in places}) == 1
    for one, other in pairwise([pairs, pairs[::-1], pairs[:1]]):
        assert OURS.digests.state("p", "c", one) != OURS.digests.state("p", "c", other)


def test_secrets_do_not_show_themselves():
    shown = repr(secrets())
    assert "masters" not in shown
    assert "content" not in shown


def test_no_two_members_of_a_file_are_sealed_with_one_nonce():
    seal = OURS.begin(NAME)
    places = [(kind, sequence) for kind in (DATA, MANIFEST) for sequence in range(3)]
    # Of equal text under one key and nonce, all but the tag would be the same.
    found = {bytes(seal.seal(kind, sequence, [bytes(64)])[1][:64]) for kind, sequence in places}
    assert len(found) == len(places)

"""Every payload sealed anew by a new master key, one by one, while others save and load.

    begin     a new master key, which the own key opens too: from the commit of its keyring on,
              nothing is saved that an older one sealed
    reseal    each payload copied, member by member; then under the lock its row gets the name
              of the copy, which is renamed last, as in a save
    end       the older master keys leave the keyring, and the keys that are not to stay

Rows keep their ids, and all that refers to them holds. Killed at any moment, the store is whole:
each payload is opened by the master key that its header names, and the keyring has them all until
the end.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from checkpointdb import format, queries
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import CorruptionError, EncryptionError
from checkpointdb.inventory import free_name
from checkpointdb.keyring import Keyring, Secrets
from checkpointdb.keys import Key
from checkpointdb.manifest import Manifest
from checkpointdb.manifests import read_manifest
from checkpointdb.payloads import PayloadReader
from checkpointdb.recording import move_payload
from checkpointdb.sealing import DATA, Cipher, check_epoch
from checkpointdb.store.encryption import Unlocked
from checkpointdb.store.opening import Opened, open_directory
from checkpointdb.store.packer import Packer
from checkpointdb.store.pool import Pool
from checkpointdb.store.trash import Trash

Progress = Callable[[int, int], object]  # payloads done, payloads to do

_MOST_NAMED = 3


def reencrypt_store(
    unlocked: Unlocked, staying: list[Key], cipher: Cipher, progress: Progress | None = None
) -> None:
    """Replace the master key; `staying` are the keys that open the store afterwards.

    `cipher` is that of the handle, which goes on with the first of these keys, and until then with
    its own: so it can be called again. Raises
    EncryptionError and CorruptionError as Encryption.rotate_key says.
    """
    own = unlocked.key
    unlocked.add(lambda keyring, secrets: _begun(keyring, secrets, own, staying))
    cipher.renew()
    # Flushed, whatever the handle is: a power loss must not bring back rows without their files.
    opened = open_directory(
        unlocked.directory,
        durable=True,
        busy_seconds=60,
        upgrade=False,
        is_encrypted=True,
        key=staying[0],
    )
    try:
        _Resealing(opened).run(progress)
    finally:
        opened.database.close()
    unlocked.key = staying[0]
    unlocked.remove(lambda keyring, secrets: _ended(keyring, secrets, staying))
    cipher.renew()


def _begun(keyring: Keyring, secrets: Secrets, own: Key, staying: list[Key]) -> Keyring:
    """Return the keyring with a new master key; as it is, if a re-encryption is to go on."""
    keys = {key.key_id: key for key in (*staying, own)}
    others = ", ".join(sorted(keyring.keys.keys() - keys.keys()))
    if others:
        raise EncryptionError(
            f"the store is opened by other keys too ({others}), and a new master key can be "
            "wrapped only by keys that are at hand: give them in keep=[…], or remove them first"
        )
    if len(secrets.masters) > 1 and keyring.keys.keys() >= {key.key_id for key in staying}:
        return keyring
    return keyring.with_new_master(keys.values(), secrets)


def _ended(keyring: Keyring, secrets: Secrets, staying: list[Key]) -> Keyring:
    """Return the keyring without older master keys, and without the keys that leave."""
    for key_id in keyring.keys.keys() - {key.key_id for key in staying}:
        keyring = keyring.without_key(key_id, secrets)
    return keyring.without_older_masters(secrets)


class _Resealing:
    """One pass over the payloads that an older master key sealed."""

    def __init__(self, opened: Opened) -> None:
        self._database = opened.database
        self._payloads = opened.payloads
        self._cipher = opened.cipher
        self._pool = Pool()
        self._trash = Trash(opened.payloads)

    def run(self, progress: Progress | None) -> None:
        problems: list[str] = []
        rows = self._older()
        for number, row in enumerate(rows, 1):
            try:
                self._reseal(row)
            except (CorruptionError, FileNotFoundError) as error:
                problems.append(f"{row.name!r}: {error}")
            if progress is not None:
                progress(number, len(rows))
        left = {row.name for row in self._older()}  # what was forgotten meanwhile is no problem
        if left:
            shown = "; ".join(problems[:_MOST_NAMED]) or min(left)
            raise CorruptionError(
                f"{len(left)} payloads could not be sealed anew ({shown}): the old keys stay and "
                "open what they opened. Repair or forget what needs them, and call it again"
            )

    def _older(self) -> list[Any]:
        assert self._cipher.epoch is not None
        with self._database.read() as connection:
            return list(connection.execute(queries.payloads_before(self._cipher.epoch)).all())

    def _reseal(self, row: Any) -> None:
        reader = self._payloads.open(row.name)
        packer = Packer(self._payloads, "fast", self._pool, self._cipher, row.name)
        try:
            old = read_manifest(reader, row.name, self._cipher)
            packer.finish(_copy(reader, row.name, old, self._cipher, packer))
            with self._database.write(retried=True) as connection:
                is_moved = self._move(connection, row, old, packer)
        except LostRace as error:
            raise EncryptionError(
                "another re-encryption of the store began meanwhile, and does the rest of this one"
            ) from error
        finally:
            reader.close()
            packer.discard()
        if is_moved:
            self._trash.empty([row.name])

    def _move(self, connection: Connection, row: Any, old: Manifest, packer: Packer) -> bool:
        """Give the row the copy; False if it is gone, or has another already."""
        name = free_name(connection, self._payloads, row.pipeline_id, row.name)
        if connection.scalar(queries.payload_name(row.id)) != row.name:
            return False
        check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))
        moved = dict(zip((each.offset for each in old.members), packer.members, strict=True))
        file = (packer.sha256, packer.stored_bytes, packer.epoch)
        move_payload(connection, row.id, row.name, name, *file, moved)
        self._payloads.publish(packer.writer, name)
        return True


def _copy(
    reader: PayloadReader, name: str, old: Manifest, cipher: Cipher, packer: Packer
) -> Manifest:
    """Copy the members of a payload, each checked; return the manifest of the copy."""
    seal = cipher.open(name, reader)
    for member in old.members:
        stored = reader.read(member.offset, member.stored_bytes)
        if sha256(stored).digest() != member.sha256:
            raise CorruptionError(f"its member at {member.offset} is not what its manifest names")
        packer.copy(member, seal.unseal(DATA, stored)[1])
    saved_with = format.sequence_of(name)
    return old._replace(
        members=tuple(packer.members),
        checkpoints=tuple(
            each._replace(sequence=saved_with if each.sequence is None else each.sequence)
            for each in old.checkpoints
        ),
    )

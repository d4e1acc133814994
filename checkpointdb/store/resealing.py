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

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from checkpointdb import format, queries
from checkpointdb.callbacks import Progress
from checkpointdb.database_errors import LostRace
from checkpointdb.errors import (
    CorruptionError,
    EncryptionError,
    StoreBusyError,
    StoreUnavailableError,
    WrongKeyError,
)
from checkpointdb.inventory import first_name, free_name, names_to_remove
from checkpointdb.keyring import Keyring, Secrets
from checkpointdb.keys import Key, unwrap
from checkpointdb.manifest import Manifest
from checkpointdb.manifests import read_manifest
from checkpointdb.payloads import PayloadReader
from checkpointdb.recording import move_payload
from checkpointdb.records import CloudBackupConfig
from checkpointdb.sealing import DATA, Cipher, check_epoch
from checkpointdb.sqlite_file import truncate_log
from checkpointdb.store.encryption import Unlocked
from checkpointdb.store.opening import Opened, open_directory
from checkpointdb.store.packer import Packer
from checkpointdb.store.pool import Pool
from checkpointdb.store.trash import Trash

_MOST_NAMED = 3


def reencrypt_store(
    unlocked: Unlocked,
    staying: list[Key],
    cipher: Cipher,
    config: CloudBackupConfig | None,
    progress: Progress | None = None,
) -> None:
    """Replace the master key; `staying` are the keys that open the store afterwards.

    `cipher` is that of the handle, which goes on with the first of these keys, and until then with
    its own: so it can be called again. Raises EncryptionError and CorruptionError as
    Encryption.rotate_key says.
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
        database_url=unlocked.database.server_url,
        config=config,
    )
    try:
        resealing = _Resealing(opened)
        resealing.run(progress)
        unlocked.key = staying[0]
        unlocked.remove(
            lambda keyring, secrets: _ended(keyring, secrets, resealing.epoch),
            resealing.expect_none_older,
        )
        if opened.database.path is not None:
            truncate_log(opened.database.path)  # the keyring of meanwhile stands in it
    finally:
        opened.database.close()
    cipher.renew()


def _begun(keyring: Keyring, secrets: Secrets, own: Key, staying: list[Key]) -> Keyring:
    """Return the keyring with a new master key, or as it is, if a re-encryption is to go on.

    It goes on if nobody else ever had its master key than those that it was begun for.
    """
    stay = {key.key_id: key for key in staying}
    is_begun = len(secrets.masters) > 1 and not secrets.leaving & stay.keys()
    others = keyring.keys.keys() - {*stay, own.key_id} - (secrets.leaving if is_begun else set())
    if others:
        raise EncryptionError(
            f"the store is opened by other keys too ({', '.join(sorted(others))}), and a new "
            "master key can be wrapped only by keys that are at hand: give them in keep=[…], "
            "--keep-key-file, or remove them first"
        )
    for key_id in stay.keys() & keyring.keys.keys():
        _check_same(stay[key_id], keyring.keys[key_id], secrets)
    if is_begun and secrets.given == stay.keys() | secrets.leaving:
        return keyring
    keys = {own.key_id: own, **stay}
    return keyring.with_new_master(keys.values(), keys.keys() - stay.keys(), secrets)


def _check_same(key: Key, wrapped: bytes, secrets: Secrets) -> None:
    """Raise unless a key is the one of its id that opens the store already."""
    try:
        is_same = unwrap(key, wrapped) == secrets.masters[secrets.epoch]
    except WrongKeyError:
        is_same = False
    if not is_same:
        raise WrongKeyError(
            f"a key {key.key_id!r} opens this store already, and it is not the one given: nothing "
            "was changed; give that one, or the new one another name"
        )


def _ended(keyring: Keyring, secrets: Secrets, epoch: int) -> Keyring:
    """Return the keyring without older master keys, and without the keys that leave."""
    if secrets.epoch != epoch:
        raise _superseded()
    return keyring.without_older_masters(secrets)


def _superseded() -> EncryptionError:
    return EncryptionError(
        "another re-encryption of the store began meanwhile: let that one end, which seals "
        "everything anew; nothing was dropped"
    )


class _Resealing:
    """One pass over the payloads that an older master key sealed."""

    def __init__(self, opened: Opened) -> None:
        self._database = opened.database
        self._payloads = opened.payloads
        self._cipher = opened.cipher
        self._pool = Pool()
        self._trash = Trash(opened.payloads, opened.database)
        assert opened.cipher.epoch is not None
        self.epoch: int = opened.cipher.epoch

    def run(self, progress: Progress | None) -> None:
        """Seal anew what there is; who saves meanwhile does so by the new master key."""
        problems: list[str] = []
        unavailable = False
        rows = self._older()
        for number, row in enumerate(rows, 1):
            try:
                self._reseal(row)
            except (CorruptionError, OSError) as error:
                problems.append(f"{row.name!r}: {error}")
                is_damage = isinstance(error, (CorruptionError, FileNotFoundError))
                unavailable = unavailable or not is_damage
            if progress is not None:
                progress(number, len(rows))
        self._expect_newest()
        left = {row.name for row in self._older()}  # what was forgotten meanwhile is no problem
        if left:
            shown = "; ".join(problems[:_MOST_NAMED]) or min(left)
            told = (
                f"{len(left)} payloads could not be sealed anew in {self._database.where!r} "
                f"({shown}): the old keys stay and open what they opened. "
            )
            if unavailable:  # a disk that is full, or fails: nothing says that they are damaged
                raise StoreUnavailableError(f"{told}Call it again when that is mended")
            raise CorruptionError(f"{told}Repair or forget what needs them, and call it again")

    def expect_none_older(self, connection: Connection) -> None:
        """Raise EncryptionError if any file needs an older master key, asked under the lock.

        Files without a row may be needed by a rebuild; and those that could not be unlinked
        can be read by who has the old key. StoreBusyError, if a push holds them back.
        """
        rows = set(connection.scalars(queries.payload_names()))
        self._trash.empty(connection.scalars(names_to_remove()).all())
        self._trash.clear_spent(connection, at_least=1)
        strays = [file.name for file in self._payloads.files() if file.name not in rows]
        left = [name for name in strays if self._is_older(name)]
        holder = connection.scalar(queries.open_leases(), {"now": datetime.now(UTC)})
        if left and holder is not None:
            raise StoreBusyError(
                f"{holder}: while that lasts {len(left)} files stay which an older master key "
                "sealed, and with them the old keys; wait for it, and call it again"
            )
        if left or connection.execute(queries.payloads_before(self.epoch)).first() is not None:
            raise EncryptionError(
                f"{len(left)} files that no checkpoint needs are sealed by an older master key, "
                f"such as {(left or ['a payload'])[0]!r}: sweep() removes what a crash left, after "
                "a day; remove the others, or rebuild the database if it lost their rows. Until "
                "then the old keys stay; call it again"
            )

    def _is_older(self, name: str) -> bool:
        try:
            reader = self._payloads.open(name)
        except (CorruptionError, OSError):
            return False
        try:
            return (self._cipher.open(name, reader).epoch or 0) < self.epoch
        except CorruptionError:  # of another store, or damaged
            return False
        finally:
            reader.close()

    def _expect_newest(self) -> None:
        self._cipher.renew()
        if self._cipher.epoch != self.epoch:
            raise _superseded()

    def _older(self) -> list[Any]:
        with self._database.read() as connection:
            return list(connection.execute(queries.payloads_before(self.epoch)).all())

    def _reseal(self, row: Any) -> None:
        begun_as = first_name(self._database, self._payloads, row.pipeline_id, row.name)
        reader = self._payloads.open(row.name)
        packer = Packer(self._payloads, "fast", self._pool, self._cipher, begun_as)
        try:
            old = read_manifest(reader, row.name, self._cipher)
            packer.finish(self._copy(reader, row, old, packer))
            with self._database.write(pipeline=row.pipeline_id, retried=True) as connection:
                is_moved = self._move(connection, row, old, packer, begun_as)
        except LostRace:
            self._expect_newest()
            return self._reseal(row)  # a key was added or removed
        finally:
            reader.close()
            packer.discard()
        if is_moved:
            self._trash.empty([row.name])
        return None

    def _copy(self, reader: PayloadReader, row: Any, old: Manifest, packer: Packer) -> Manifest:
        """Copy the members of a payload, each checked; return the manifest of the copy.

        One that is damaged and that nothing needs stays as damaged as it is.
        """
        with self._database.read() as connection:
            needed = set(connection.scalars(queries.member_offsets(row.id)))
        seal = self._cipher.open(row.name, reader)
        for member in old.members:
            stored = reader.read(member.offset, member.stored_bytes)
            if sha256(stored).digest() == member.sha256:
                packer.copy(member, seal.unseal(DATA, stored)[1])
            elif member.offset in needed:
                raise CorruptionError(
                    f"its member at {member.offset} is not what its manifest names"
                )
            else:
                packer.copy_damaged(member, stored)
        saved_with = format.sequence_of(row.name)
        return old._replace(
            members=tuple(packer.members),
            checkpoints=tuple(
                each._replace(sequence=saved_with if each.sequence is None else each.sequence)
                for each in old.checkpoints
            ),
        )

    def _move(
        self, connection: Connection, row: Any, old: Manifest, packer: Packer, begun_as: str
    ) -> bool:
        """Give the row the copy; False if it is gone, or has another already."""
        name = free_name(connection, self._payloads, row.pipeline_id, begun_as)
        if connection.scalar(queries.payload_name(row.id)) != row.name:
            return False
        check_epoch(self._cipher, packer.epoch, connection.scalar(queries.keyring_generation()))
        moved = dict(zip((each.offset for each in old.members), packer.members, strict=True))
        file = (packer.sha256, packer.stored_bytes, packer.epoch)
        move_payload(connection, row.id, row.name, name, *file, moved)
        self._trash.clear_spent(connection)
        self._payloads.publish(packer.writer, name)
        return True

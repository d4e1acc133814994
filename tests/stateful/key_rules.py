"""The rules of an encrypted store, beside those of every store."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule
from modelled_retention import DEFAULT, POLICIES
from modelled_store import HANDLES

from checkpointdb import WrongKeyError, generate_encryption_key


class Keys:
    """Rules of an encrypted store: keys that come and go."""

    key = generate_encryption_key()

    def writes(self, number, name, data):
        return super().writes(number, name, data) | {
            "replace the key": lambda: self.replace_the_key(number),
            "replace the master key": lambda: self.replace_the_master_key(number, [DEFAULT] * 3),
        }

    @rule(number=HANDLES)
    def replace_the_key(self, number):
        new = generate_encryption_key()
        try:
            self.handles[number].rotate_key(new)
        except WrongKeyError:  # its own was replaced by another handle; it only saves and loads
            assert self.handles[number]._unlocked.key.key_id not in self.store.observer.key_ids()
            return
        self.store.key = new

    @rule(number=HANDLES, policies=st.tuples(POLICIES, POLICIES, POLICIES))
    def replace_the_master_key(self, number, policies):
        self.store.sweep()  # what no row names is not sealed anew
        new = generate_encryption_key()
        try:
            self.handles[number].rotate_key(new, reencrypt=True)
        except WrongKeyError:
            return
        self.store.resealed(new)
        for handle in self.handles:
            handle.close()
        self.handles = [self.store.open(**policy) for policy in policies]
        self.policies = list(policies)

    @rule(number=HANDLES)
    def add_a_key_and_remove_it(self, number):
        new = generate_encryption_key()
        try:
            self.handles[number].add_key(new)
            self.handles[number].remove_key(new)
        except WrongKeyError:
            assert self.handles[number]._unlocked.key.key_id not in self.store.observer.key_ids()

    @rule(name=st.sampled_from(["keyring.json", "the table"]))
    def lose_one_of_the_two_keyrings(self, name):
        if name == "keyring.json":
            (self.store.directory / name).unlink()
        else:
            self.store.alter("UPDATE keyring SET document = '{'")
        self.store.open().close()

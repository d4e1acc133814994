"""The whole store against a dictionary, and its rebuild, step by step, by Hypothesis.

make test-model      a long look: thousands of steps of each machine
"""

from __future__ import annotations

import shutil

import pytest
from effort import NIGHTLY, SECONDS, some
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from key_rules import Keys
from modelled_retention import POLICIES
from modelled_store import opened
from store_rules import StoreMachine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS)]


class RebuildMachine(StoreMachine):
    """After each step, the database could be lost."""

    @rule(policies=st.tuples(POLICIES, POLICIES, POLICIES))
    def lose_the_database_and_go_on(self, policies):
        target, _ = self.store.rebuilt()
        for handle in self.handles:
            handle.close()
        self.store.go_on(target)
        self.handles = [self.store.open(**policy) for policy in policies]
        self.policies = list(policies)

    @invariant()
    def a_rebuild_brings_every_checkpoint_back(self):
        target, report = self.store.rebuilt()
        with opened(target, self.store.key) as copy:
            self.store.compare(copy, report)
        shutil.rmtree(target.parent)


class EncryptedMachine(Keys, RebuildMachine):
    """The same, encrypted."""


def steps(examples, count, *, at_night=50):
    """Settings of a machine: so many histories of so many steps, at night of up to fifty."""
    return settings(
        max_examples=at_night if NIGHTLY else examples,
        stateful_step_count=50 if NIGHTLY else count,
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )


TestStore = StoreMachine.TestCase
TestStore.settings = steps(some(8, long=20), 25, at_night=80)
TestRebuild = RebuildMachine.TestCase
TestRebuild.settings = steps(some(3, long=8), 18)
TestEncrypted = EncryptedMachine.TestCase
TestEncrypted.settings = steps(some(3, long=6), 18)


def test_the_store_on_a_server(emptied):
    class OnServer(StoreMachine):
        new_url = staticmethod(lambda: next(emptied()))

    run_state_machine_as_test(OnServer, settings=steps(some(2, long=10), 20))


def test_an_encrypted_store_on_a_server(emptied):
    class EncryptedOnServer(Keys, StoreMachine):
        new_url = staticmethod(lambda: next(emptied()))

    run_state_machine_as_test(EncryptedOnServer, settings=steps(some(2, long=10), 15))

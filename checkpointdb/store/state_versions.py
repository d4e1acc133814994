"""Which version of states the code at hand takes, and what brings older ones up to it.

A version belongs to the code: checkpoints record that of the code that saved them, and are never
rewritten. One that was saved without any counts as version 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from checkpointdb.errors import (
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    StateUpgradeError,
    StateVersionError,
)
from checkpointdb.manifest import MAX_STATE_VERSION
from checkpointdb.store.validation import checked_count, checked_state

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


class StateVersions:
    """The version of a handle's states, and the upgrades, each by the version that it takes.

    Without a version every state is taken as it is.
    """

    __slots__ = ("_upgrades", "current")

    def __init__(
        self, current: int | None = None, upgrades: Mapping[int, Upgrade] | None = None
    ) -> None:
        self.current = current
        self._upgrades = dict(upgrades or {})

    def is_older(self, place: Any) -> bool:
        """Say whether the state at a place has to be upgraded.

        Raises StateVersionError if it is newer, or if an upgrade on the way is missing.
        """
        if self.current is None:
            return False
        found = _version_of(place)
        if found > self.current:
            raise self._newer(place.checkpoint_id, found)
        for step in range(found, self.current):
            if step not in self._upgrades:
                raise self._without_step(place, found, step)
        return found < self.current

    def keys_to_read(self, place: Any, keys: Collection[str] | None) -> Collection[str] | None:
        """Return what is to be read to give `keys`: all (None) of an older state.

        Whole, since an upgrade may make one key of several. Raises what `is_older` raises.
        """
        return None if self.is_older(place) else keys

    def upgraded(
        self, place: Any, state: dict[str, Any], keys: Collection[str] | None
    ) -> dict[str, Any]:
        """Return what was read as the code takes it; of an older state `keys` alone, if given.

        Raises StateUpgradeError if an upgrade fails, NotFoundError if a key is not in the result.
        """
        if self.current is None or not self.is_older(place):
            return state
        for step in range(_version_of(place), self.current):
            state = self._upgrade(place, step, state)
        return state if keys is None else _chosen(place.checkpoint_id, state, keys)

    def _upgrade(self, place: Any, step: int, state: dict[str, Any]) -> dict[str, Any]:
        try:
            return checked_state(self._upgrades[step](state))
        except InvalidStateError as error:
            reason = f"did not return a state ({error}): return the dictionary that you changed"
            raise self._failed(place, step, reason) from error
        except MemoryError:
            raise
        except Exception as error:
            reason = f"raised {type(error).__name__}: {error}"
            raise self._failed(place, step, reason) from error

    # --- errors

    def _newer(self, checkpoint_id: str, found: int) -> StateVersionError:
        return StateVersionError(
            f"checkpoint {checkpoint_id!r} has state version {found}, which is newer than this "
            f"code takes (up to {self.current}): run newer code, or load an older checkpoint",
            checkpoint_id=checkpoint_id,
            found=found,
            expected=self.current or 0,
        )

    def _without_step(self, place: Any, found: int, step: int) -> StateVersionError:
        has = f"has state version {found}"
        if place.state_version is None:
            has = "was saved without a state version, which counts as 0,"
        return StateVersionError(
            f"checkpoint {place.checkpoint_id!r} {has} and this code takes {self.current}: there "
            f"is no upgrade from {step} to {step + 1}; give it, state_upgrades={{{step}: …}}",
            checkpoint_id=place.checkpoint_id,
            found=found,
            expected=self.current or 0,
            step=step,
        )

    def _failed(self, place: Any, step: int, reason: str) -> StateUpgradeError:
        return StateUpgradeError(
            f"checkpoint {place.checkpoint_id!r} was not loaded: its upgrade from state version "
            f"{step} to {step + 1} {reason}",
            checkpoint_id=place.checkpoint_id,
            found=_version_of(place),
            expected=self.current or 0,
            step=step,
        )


def checked_versions(version: object, upgrades: object) -> StateVersions:
    """Return what a handle was given. Raises InvalidInputError for what makes no sense."""
    if version is None:
        if upgrades is not None:
            raise InvalidInputError("state_upgrades lead to a version: give state_version too")
        return StateVersions()
    current = _checked(version, "state_version")
    if upgrades is None:
        return StateVersions(current)
    if not isinstance(upgrades, Mapping):
        kind = type(upgrades).__name__
        raise InvalidInputError(f"state_upgrades must be a dict of functions, not {kind}")
    for step, upgrade in upgrades.items():
        if _checked(step, "a version in state_upgrades") >= current:
            raise InvalidInputError(
                f"state_upgrades has {step}, but state_version is {current}: an upgrade stands "
                "under the version that it takes, and leads to the next"
            )
        if not callable(upgrade):
            raise InvalidInputError(f"state_upgrades[{step}] must be a function, not {upgrade!r}")
    return StateVersions(current, upgrades)


def _checked(value: object, what: str) -> int:
    found = checked_count(value, what, least=0)
    if found > MAX_STATE_VERSION:
        raise InvalidInputError(f"{what} must be a whole number of at most {MAX_STATE_VERSION}")
    return found


def _version_of(place: Any) -> int:
    return 0 if place.state_version is None else int(place.state_version)


def _chosen(checkpoint_id: str, state: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    missing = [key for key in keys if key not in state]
    if missing:
        raise NotFoundError(
            f"checkpoint {checkpoint_id!r}, upgraded, has no key {', '.join(map(repr, missing))}",
            checkpoint_id=checkpoint_id,
        )
    return {key: state[key] for key in dict.fromkeys(keys)}

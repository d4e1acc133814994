"""The story: run, kill, look, resume, compare, ask. Exits with 0 only if all of it held."""

from __future__ import annotations

import hashlib
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from checkpointdb import has_key, meta

from . import naive
from .questions import QUESTIONS, ask
from .run import Run
from .screen import Screen, seconds, size
from .stages import STAGES, digest
from .worker import open_store

FOLDER = Path(".demo")  # made anew by each showing
KILL_AT = (6, 50)  # stage, percent of it
SAVED = "SELECT checkpoint_id FROM checkpoint_overview ORDER BY created_at, depth"
PAYLOADS = "SELECT name, lower(hex(sha256)) FROM payloads ORDER BY name"


class Demo:
    """One showing of the demo: its screen, its store, and what was checked on the way."""

    def __init__(self, screen: Screen, folder: Path) -> None:
        self.screen = screen
        self.store = folder / "store"
        self.database = (self.store / "checkpoints.db").resolve()
        self.naive = folder / "naive"
        self.save_seconds: list[float] = []
        self.checks: list[tuple[str, bool]] = []

    def show(self) -> bool:
        """Play all parts; return whether every check held."""
        self.introduce()
        self.run_and_kill()
        self.look_after_the_kill()
        self.resume()
        self.show_answer()
        self.show_files()
        self.compare()
        self.ask_in_sql()
        self.ask_in_python()
        return self.conclude()

    def check(self, claim: str, holds: bool) -> None:
        """Remember whether a claim held; the last part lists them."""
        self.checks.append((claim, holds))

    def introduce(self) -> None:
        python = ".".join(platform.python_version_tuple()[:2])
        stage, percent = KILL_AT
        self.screen.heading("checkpointdb")
        self.screen.line(
            f"A pipeline of {len(STAGES)} stages reads the sources of Python {python}'s own"
        )
        self.screen.line("library and finds out what its modules are about and which matter most.")
        self.screen.line(
            "After each stage it saves its whole state, which grows from stage to stage."
        )
        self.screen.line(
            f"At {percent} % of stage {stage} it is killed with SIGKILL, then started again."
        )

    def run_and_kill(self) -> None:
        run = self._begin("The first run")
        run.follow(kill_at=KILL_AT)
        stage = STAGES[KILL_AT[0] - 1][0]
        self.screen.line(
            f"{KILL_AT[0]}  {stage:<9} "
            + self.screen.paint("red", f"SIGKILL at {run.percent} % of the stage")
        )
        self.check("the first run died of SIGKILL", run.returncode == -signal.SIGKILL)
        self.check(f"it died within stage {KILL_AT[0]}", run.stages[-1:] == [KILL_AT[0]])

    def look_after_the_kill(self) -> None:
        names = [row[0] for row in ask(self.database, SAVED).rows]
        expected = [_checkpoint_id(number) for number in range(1, KILL_AT[0])]
        self.check("every stage finished before it has its checkpoint", names == expected)
        self.check("each of these loads, verified", self._all_load(names))
        self.screen.line(
            f"{len(names)} checkpoints are there; all were loaded, every byte verified.", "dim"
        )

    def resume(self) -> None:
        run = self._begin("The second run")
        run.follow()
        self.check("the second run ended well", run.returncode == 0)
        self.check(
            "it took up where the first was killed, and repeated no finished stage",
            run.resumed_from == _checkpoint_id(KILL_AT[0] - 1)
            and run.stages == list(range(KILL_AT[0], len(STAGES) + 1)),
        )

    def show_answer(self) -> None:
        with open_store(self.store) as store:
            start = time.perf_counter()
            lines = store.load(_checkpoint_id(len(STAGES)), keys=["report"])["report"]
            spent = time.perf_counter() - start
        self.screen.heading(
            "What matters most",
            f"the key 'report' of the last checkpoint, read in {seconds(spent)}",
        )
        for line in lines[:5]:
            self.screen.line("  " + line)

    def show_files(self) -> None:
        self.screen.heading("What is stored", str(self.store))
        files = sorted((self.store / "payloads").rglob("*.ckpt.gz"))
        rows = [(path.name, size(path.stat().st_size)) for path in files]
        rows.append((self.database.name, size(self.database.stat().st_size)))
        self.screen.table(("file", "size"), rows)
        recorded = dict(ask(self.database, PAYLOADS).rows)
        found = {Path(name).name: digest for name, digest in recorded.items()}
        self.check(
            "the SHA-256 of each file is the one in the database",
            found == {path.name: _sha256(path) for path in files},
        )

    def compare(self) -> None:
        self.screen.heading(
            "What the deltas saved",
            f"against pickle + gzip -{naive.LEVEL} per stage, in an uninterrupted run",
        )
        plain = naive.run(self.naive, self._passing_stage)
        with open_store(self.store) as store:
            start = time.perf_counter()
            state = store.load(_checkpoint_id(len(STAGES)))
            loading = time.perf_counter() - start
        stored = sum(path.stat().st_size for path in self.store.rglob("*") if path.is_file())
        saving = sum(self.save_seconds)
        self.screen.table(
            ("", "checkpointdb", "pickle + gzip", "ratio"),
            [
                _compared("bytes on disk, all stages", stored, plain.stored_bytes, size),
                _compared("seconds in saves, all stages", saving, plain.save_seconds, seconds),
                _compared("seconds to load the last one", loading, plain.load_seconds, seconds),
            ],
        )
        self.screen.line(
            "  (checkpointdb's saves were flushed to the disk; the plain files were not.)", "dim"
        )
        self.check(
            "the resumed result is that of the uninterrupted run", digest(state) == plain.digest
        )
        self.check("the deltas took less room than the full pickles", stored < plain.stored_bytes)

    def ask_in_sql(self) -> None:
        for number, question in enumerate(QUESTIONS, 1):
            self.screen.heading(f"SQL {number}: {question.text}")
            for line in question.sql.strip().splitlines():
                self.screen.line("  " + line, "cyan")
            answer = ask(self.database, question.sql)
            self.screen.table(answer.columns, answer.rows)
            self.check(f"SQL question {number} has an answer", bool(answer.rows))

    def ask_in_python(self) -> None:
        self.screen.heading("In Python: which late stages hold a graph and took no time?")
        self.screen.line(
            '  where = (meta("stage") >= 5) & (meta("seconds") < 0.5) & has_key("graph")', "cyan"
        )
        self.screen.line("  store.list_checkpoints(where=where)", "cyan")
        where = (meta("stage") >= 5) & (meta("seconds") < 0.5) & has_key("graph")
        with open_store(self.store) as store:
            found = store.list_checkpoints(where=where)
            everything = store.list_checkpoints()
        self.screen.line("  " + ", ".join(each.checkpoint_id for each in found))
        by_hand = [
            each.checkpoint_id
            for each in everything
            if each.custom_metadata["stage"] >= 5
            and each.custom_metadata["seconds"] < 0.5
            and "graph" in each.state_keys
        ]
        self.check(
            "where= finds what a loop over all finds",
            [each.checkpoint_id for each in found] == by_hand and bool(by_hand),
        )

    def conclude(self) -> bool:
        names = [row[0] for row in ask(self.database, SAVED).rows]
        self.check("all checkpoints load, verified", self._all_load(names))
        self.screen.heading("What was checked")
        for claim, holds in self.checks:
            mark = self.screen.paint("green", "✓") if holds else self.screen.paint("red", "✗ NOT")
            self.screen.line(f"  {mark} {claim}")
        self.screen.line()
        self.screen.line("Look around: sqlite3 " + str(self.store / "checkpoints.db"), "dim")
        self.screen.line()
        return all(holds for _, holds in self.checks)

    def _begin(self, title: str) -> Run:
        run = Run(self.screen, self.store)
        run.save_seconds = self.save_seconds
        self.screen.heading(title, f"process {run.process.pid}")
        run.head()
        return run

    def _all_load(self, checkpoint_ids: list[str]) -> bool:
        with open_store(self.store) as store:
            return all(store.load(name) for name in checkpoint_ids)

    def _passing_stage(self, number: int) -> None:
        self.screen.bar(STAGES[number - 1][0].ljust(9), 100 * (number - 1) // len(STAGES))


def _checkpoint_id(number: int) -> str:
    return f"stage_{number}_{STAGES[number - 1][0]}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compared(
    what: str, ours: float, theirs: float, show: Callable[[float], str]
) -> tuple[str, str, str, str]:
    return what, show(ours), show(theirs), f"{theirs / ours:.1f} ×"


def main() -> int:
    """Show the demo; return 0 if all that it claims held."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    return 0 if Demo(Screen(), FOLDER).show() else 1


if __name__ == "__main__":
    sys.exit(main())

"""Programs that tests run in processes of their own, to kill them, race them or starve them.

Each prints what it has been told is done, unbuffered: a line is printed after the call returned.
"""

from __future__ import annotations

import base64
import itertools
import logging
import os
import random
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from breaking import KEEP_ALL, array_state_of, state_of, tag_of

from checkpointdb import CheckpointError, NotFoundError
from checkpointdb import PipelineCheckpoint as Handle

logging.getLogger("checkpointdb").addHandler(logging.NullHandler())

# On a server, if the test says so.
PipelineCheckpoint = partial(Handle, database_url=os.environ.get("TEST_DATABASE_URL"))


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


# --- to be killed


def save_for_ever(directory: str, first: str, kind: str = "small") -> None:
    """Save new ids until killed."""
    make = array_state_of if kind == "large" else state_of
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        for number in itertools.count(int(first)):
            say(handle.save(make(f"tag {number}"), f"s{number}"))


# What `change_keys` does: saves, and keys by their numbers.
KEYS = [base64.urlsafe_b64encode(bytes([each]) * 32) for each in range(5)]
KEY_SCRIPT = [
    ("save", "a"),
    ("add", 1),
    ("save", "b"),
    ("remove", 0),
    ("rotate", 2),
    ("save", "a"),
    ("add", 3),
    ("remove", 2),
    ("reencrypt", 4),
    ("save", "c"),
]


def change_keys(directory: str) -> None:
    """Go through KEY_SCRIPT, always by a handle with a key that opens the store."""
    for number, (what, which) in enumerate(KEY_SCRIPT):
        key = KEYS[min(keys_after(number))]
        if (what, which) == ("remove", 0):
            key = KEYS[1]
        if (what, which) == ("remove", 2):
            key = KEYS[3]
        with PipelineCheckpoint(directory, key, enable_encryption=True, **KEEP_ALL) as handle:
            if what == "save":
                handle.save(state_of(str(number)), str(which))
            elif what == "add":
                handle.add_key(KEYS[int(which)])
            elif what == "remove":
                handle.remove_key(KEYS[int(which)])
            else:
                handle.rotate_key(KEYS[int(which)], reencrypt=what == "reencrypt")
            say("done", number)


def keys_after(steps: int) -> set[int]:
    """The numbers of the keys that open the store after so many steps of KEY_SCRIPT."""
    found = {0}
    for what, which in KEY_SCRIPT[:steps]:
        if what == "add":
            found.add(int(which))
        elif what == "remove":
            found.remove(int(which))
        elif what in {"rotate", "reencrypt"}:
            found = (found - {min(found)}) | {int(which)}
    return found


# --- to fail


def try_saves(directory: str, *ids: str) -> None:
    """Save ids one after the other; say what came of each."""
    try:
        handle = PipelineCheckpoint(directory, **KEEP_ALL)
    except CheckpointError as error:
        say("failed", "open", type(error).__name__, error)
        return
    for number, each in enumerate(ids):
        try:
            say("saved", handle.save(state_of(f"{each} {number}"), each))
        except CheckpointError as error:
            say("failed", each, type(error).__name__, error)
    handle.close()


def fail_and_die_before_the_commit(directory: str) -> None:
    """Save an id, save it again (this is to fail), save it again and die once it is renamed."""
    from checkpointdb import local_payloads

    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    say("saved", handle.save(state_of("first"), "x"))
    try:
        say("saved", handle.save(state_of("second"), "x"))
    except CheckpointError as error:
        say("failed", "x", type(error).__name__, error)
    local_payloads.sync_directory = lambda _: os.kill(os.getpid(), 9)
    handle.save(state_of("third"), "x")


def look(directory: str) -> None:
    """Open, load everything, close."""
    with PipelineCheckpoint(directory) as handle:
        for each in handle.list_checkpoints(reverse=False):
            try:
                say(each.checkpoint_id, tag_of(handle.load(each.checkpoint_id)))
            except NotFoundError:
                continue


# --- to race each other


def crowd(directory: str, name: str, threads: str, seconds: str) -> None:
    """Save, load, replace, delete and prune by many threads for a while.

    In the pipeline "kept" each thread has ids of its own: it prints `kept ID TAG` for what it
    saved there and did not delete. In "pruned" all fight over a few ids. Prints `operations N`.
    """
    import numpy  # noqa: F401 - here, since threads that import it at once trip each other

    kept = PipelineCheckpoint(directory, pipeline="kept", **KEEP_ALL)
    pruned = PipelineCheckpoint(directory, pipeline="pruned", retention_count=PRUNED_TO)
    until = time.monotonic() + float(seconds)
    members = [
        CrowdMember(f"{name}t{number}", kept, pruned, until) for number in range(int(threads))
    ]
    in_threads([member.run for member in members])
    for member in members:
        for checkpoint_id, tag in member.mine.items():
            say("kept", checkpoint_id, tag)
    say("operations", sum(member.operations for member in members))
    kept.close()
    pruned.close()


PRUNED_TO = 6


class CrowdMember:
    """One thread of a crowd."""

    def __init__(self, name: str, kept: Handle, pruned: Handle, until: float) -> None:
        self.name, self.kept, self.pruned, self.until = name, kept, pruned, until
        self.random = random.Random(name)
        self.mine: dict[str, str] = {}
        self.operations = 0

    def run(self) -> None:
        acts = [self.save_mine, self.load_mine, self.delete_mine, self.save_shared]
        acts += [self.load_shared, self.load_latest, self.list_shared, self.delete_shared]
        while time.monotonic() < self.until:
            self.random.choices(acts, (3, 3, 1, 4, 5, 2, 1, 1))[0]()
            self.operations += 1

    def save_mine(self) -> None:
        checkpoint_id, tag = f"{self.name}-{self.random.randrange(6)}", self.tag()
        self.mine.pop(checkpoint_id, None)
        self.kept.save(array_state_of(tag), checkpoint_id)
        self.mine[checkpoint_id] = tag

    def load_mine(self) -> None:
        for checkpoint_id, tag in list(self.mine.items())[:1]:
            assert tag_of(self.kept.load(checkpoint_id)) == tag

    def delete_mine(self) -> None:
        if self.mine:
            self.kept.delete_checkpoint(self.mine.popitem()[0])

    def save_shared(self) -> None:
        checkpoint_id = self.shared()
        self.pruned.save(array_state_of(f"{checkpoint_id} {self.tag()}"), checkpoint_id)

    def load_shared(self) -> None:
        checkpoint_id = self.shared()
        try:
            tag = tag_of(self.pruned.load(checkpoint_id))
        except NotFoundError:
            return
        assert tag.split()[0] == checkpoint_id, (tag, checkpoint_id)

    def load_latest(self) -> None:
        found = self.pruned.load_latest()
        if found is not None:
            tag = tag_of(found[1])
            assert tag.split()[0] == found[0].checkpoint_id, (tag, found[0])

    def list_shared(self) -> None:
        assert len(self.pruned.list_checkpoints()) <= PRUNED_TO

    def delete_shared(self) -> None:
        self.pruned.delete_checkpoint(self.shared())

    def shared(self) -> str:
        return f"s{self.random.randrange(12)}"

    def tag(self) -> str:
        return f"{self.name}.{self.operations}"


def in_threads(programs: list[Callable[[], None]]) -> None:
    """Run all at once; raise what the first of them to fail raised."""
    with ThreadPoolExecutor(len(programs)) as pool:
        for running in [pool.submit(program) for program in programs]:
            running.result()


def replace(directory: str, checkpoint_id: str, times: str, name: str = "") -> None:
    """Replace one id again and again, its tag counting."""
    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        for number in range(int(times)):
            handle.save(array_state_of(f"{number} {name}"), checkpoint_id)
        say("done")


def open_and_close(directory: str, times: str) -> None:
    """Open, save under an own id, and close, again and again."""
    for number in range(int(times)):
        with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
            say(
                "saved", handle.save(state_of(f"{os.getpid()} {number}"), f"{os.getpid()}-{number}")
            )


# --- to fork


def fork(child: Callable[[], None]) -> int:
    """Run a function in a forked child that ends there; return its process id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        child()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def save_each(handle: Handle, *ids: str) -> None:
    """Save ids and load them again; say which were saved."""
    writer = f"{os.getpid()}.{threading.get_ident()}"
    for each in ids:
        handle.save(state_of(each), each, custom_metadata={"writer": writer})
        say("saved", each)
        assert tag_of(handle.load(each)) == each


class Signal:
    """Something that one process tells another, once or more."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def give(self) -> None:
        os.write(self._write, b".")

    def take(self) -> None:
        assert os.read(self._read, 1)


def fork_with_a_used_handle(directory: str) -> None:
    """Parent and child take turns; then the parent closes and the child goes on."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    save_each(handle, "p0")
    parents, childs = Signal(), Signal()

    def child() -> None:
        for number in range(5):
            save_each(handle, f"c{number}")
            childs.give()
            parents.take()
        save_each(handle, "c-alone-0", "c-alone-1")
        childs.give()
        parents.take()  # it holds its connections while others look

    process = fork(child)
    for number in range(5):
        childs.take()
        save_each(handle, f"p{number + 1}")
        if number == 4:
            handle.close()
        parents.give()
    childs.take()
    say("others", *_as_another_sees(directory))
    parents.give()
    say("child", os.waitpid(process, 0)[1])


def _as_another_sees(directory: str) -> list[str]:
    from breaking import run_well

    return [line.split()[0] for line in run_well("look", directory)]


def fork_and_open_anew(directory: str) -> None:
    """The child opens a handle of its own while the parent's is open, as multiprocessing does."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    save_each(handle, "p0")
    parents, childs = Signal(), Signal()

    def child() -> None:
        own = PipelineCheckpoint(directory, **KEEP_ALL)
        save_each(own, "c0")
        childs.give()
        parents.take()
        save_each(own, "c1", "c2")

    process = fork(child)
    childs.take()
    handle.close()
    parents.give()
    say("child", os.waitpid(process, 0)[1])


def fork_and_outlive_the_child(directory: str) -> None:
    """The child saves, closes and ends; the parent goes on."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    save_each(handle, "p0")

    def child() -> None:
        save_each(handle, "c0", "c1")
        handle.close()

    say("child", os.waitpid(fork(child), 0)[1])
    say("others", *_as_another_sees(directory))
    save_each(handle, "p1", "p2")


def fork_among_threads(directory: str, forking: str, times: str) -> None:
    """Some threads fork, others save all the while; every child saves, forks and saves again."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    done = threading.Event()
    failed: list[int] = []

    def save(name: str) -> None:
        for number in itertools.count():
            save_each(handle, f"{name}-{number}")
            if done.is_set():
                return

    def child(name: str) -> None:
        save_each(handle, f"{name}-c")
        failed.append(os.waitpid(fork(lambda: save_each(handle, f"{name}-cc")), 0)[1])
        save_each(handle, f"{name}-d")
        assert not any(failed)

    def fork_often(name: str) -> None:
        for number in range(int(times)):
            failed.append(os.waitpid(fork(lambda: child(f"{name}-{number}")), 0)[1])  # noqa: B023

    savers = [threading.Thread(target=save, args=(f"s{each}",)) for each in range(2)]
    forkers = [
        threading.Thread(target=fork_often, args=(f"f{each}",)) for each in range(int(forking))
    ]
    for thread in (*savers, *forkers):
        thread.start()
    for thread in forkers:
        thread.join()
    done.set()
    for thread in savers:
        thread.join()
    say("child", sum(failed))


def fork_while_others_open(directory: str, seconds: str) -> None:
    """Threads open and close stores, the first of the process too; children open their own."""
    until = time.monotonic() + float(seconds)
    numbers = itertools.count()

    def save_one() -> None:
        name = f"{os.getpid()}-{next(numbers)}"
        with PipelineCheckpoint(f"{directory}/{name}", **KEEP_ALL) as handle:
            save_each(handle, name)

    def open_others() -> None:
        while time.monotonic() < until:
            save_one()

    openers = [threading.Thread(target=open_others) for _ in range(2)]
    for each in openers:
        each.start()
    while time.monotonic() < until:
        say("child", os.waitpid(fork(save_one), 0)[1])
    for each in openers:
        each.join()


def fork_while_others_save_within_a_query(directory: str, times: str) -> None:
    """A thread saves into one store while it asks another; children save into both."""
    handles = [PipelineCheckpoint(f"{directory}/{name}", **KEEP_ALL) for name in "ab"]
    done = threading.Event()
    save_each(handles[0], "p")

    def save_within() -> None:
        for number in itertools.count():
            with handles[0].query(), handles[1].query():
                for handle, other in (handles, handles[::-1]):
                    with handle.query():
                        save_each(other, f"n{number}")
            if done.is_set():
                return

    saver = threading.Thread(target=save_within)
    saver.start()
    for number in range(int(times)):
        began = time.monotonic()
        process = fork(lambda: [save_each(each, f"c{number}") for each in handles])  # type: ignore[arg-type,return-value]  # noqa: B023
        say("took", time.monotonic() - began)
        say("child", os.waitpid(process, 0)[1])
    done.set()
    saver.join()


def fork_within_a_query(directory: str) -> None:
    """The forking thread itself holds a connection: the child may refuse, and not lose."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    save_each(handle, "p0")
    parents, childs = Signal(), Signal()

    def child() -> None:
        try:
            save_each(handle, "c0")
        except CheckpointError as error:
            say("refused", type(error).__name__, error)
        childs.give()
        parents.take()
        try:
            save_each(handle, "c1")
        except CheckpointError as error:
            say("refused", type(error).__name__, error)

    with handle.query():
        process = fork(child)
    childs.take()
    handle.close()
    parents.give()
    say("child", os.waitpid(process, 0)[1])


def ids(directory: str, pipeline: str) -> None:
    """Print the ids of a pipeline, oldest first."""
    with PipelineCheckpoint(directory, pipeline=pipeline) as handle:
        for each in handle.list_checkpoints(reverse=False):
            say(each.checkpoint_id)


# --- to starve


def starve_of_descriptors(directory: str) -> None:
    """Lower the limit of open files step by step, doing all there is to do at each."""
    import resource

    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    say("saved", handle.save(state_of("before"), "before"))
    generous = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest_free := os.open(directory, os.O_RDONLY))
    for limit in range(lowest_free + 4, lowest_free - 3, -1):
        acts = {
            "save": lambda name=f"at-{limit}": say("saved", handle.save(state_of(name), name)),
            "load": lambda: tag_of(handle.load("before")),
            "open": lambda: PipelineCheckpoint(directory, **KEEP_ALL).close(),
        }
        for name, act in acts.items():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, generous[1]))
            try:
                act()
            except CheckpointError as error:
                say("failed", name, type(error).__name__, error)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, generous)
    say("saved", handle.save(state_of("after"), "after"))
    handle.close()


def starve_of_file_size(directory: str, limit: str) -> None:
    """Save under a limit of how long a file may be, which the log of the database meets."""
    import resource

    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    say("saved", handle.save(state_of("before"), "before"))
    generous = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), generous[1]))
    for number in range(30):
        name = f"s{number}"
        try:
            say("saved", handle.save(state_of(name), name))
        except CheckpointError as error:
            say("failed", name, type(error).__name__, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, generous)
    say("saved", handle.save(state_of("after"), "after"))
    handle.close()


def fill(directory: str, count: str, size: str) -> None:
    """Save noise that does not shrink, `count` times, and say what came of it."""
    import numpy

    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    for number in range(int(count)):
        noise = numpy.random.default_rng(number).random(int(size) // 8)
        try:
            say("saved", handle.save({"noise": noise, "seed": number}, f"s{number}"))
        except CheckpointError as error:
            say("failed", f"s{number}", type(error).__name__, error)
    handle.close()


def save_and_die(directory: str, *ids: str) -> None:
    """Save ids and end as by kill -9, so that the log keeps what was not yet copied back."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    for each in ids:
        say("saved", handle.save(state_of(each), each))
    os.kill(os.getpid(), 9)


# --- to end in the middle


def close_while_saving(directory: str) -> None:
    """Threads save small and large states while the handle is closed again and again."""
    import numpy

    large = {"noise": numpy.random.default_rng(1).random(600_000)}
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    done = threading.Event()

    def save(name: str) -> None:
        for number in range(12):
            each = f"{name}-{number}"
            try:
                handle.save({**state_of(each)} if number % 2 else {**large, "name": each}, each)
            except CheckpointError as error:
                say("failed", each, type(error).__name__, error)
                continue
            if number % 2:
                say("saved", each)
            else:
                assert handle.load(each)["name"] == each
                handle.delete_checkpoint(each)

    def close() -> None:
        while not done.wait(0.005):
            handle.close()

    closer = threading.Thread(target=close)
    closer.start()
    try:
        in_threads([lambda name=f"t{each}": save(name) for each in range(4)])
    finally:
        done.set()
        closer.join()


def outlive_the_main_thread(directory: str) -> None:
    """A thread that is no daemon saves and loads after the main thread has ended."""
    import numpy

    handle = PipelineCheckpoint(directory, **KEEP_ALL)

    def work() -> None:
        threading.main_thread().join()
        noise = numpy.random.default_rng(1).random(1_500_000)
        say("saved", handle.save({"small": 1}, "small"))
        say("saved", handle.save({"noise": noise}, "large"))
        assert (handle.load("large")["noise"] == noise).all()
        say("loaded large")
        handle.delete_checkpoint("small")
        handle.delete_checkpoint("large")

    threading.Thread(target=work).start()


def run_stages(directory: str, pace: str, within: str) -> None:
    """Resume a run with a loop; slowly, saying when it is within a step, or a stage without one."""
    from checkpointdb.pipeline import Pipeline

    def rest() -> None:
        say("within a", within)
        for _ in range(20):
            time.sleep(0.05)

    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        pipeline = Pipeline("killed", handle)

        @pipeline.stage(version="1")
        def prepare(state: dict) -> None:
            state["done"] = ["prepared"]

        @pipeline.stage(version="1")
        def loop(state: dict) -> None:
            if (pace, within) == ("slow", "stage"):
                rest()
            for number in pipeline.steps("epoch", range(6), every_seconds=60):
                if (pace, within, number) == ("slow", "step", 2):
                    rest()
                    say("step ended")
                state["done"].append(number)

        state = pipeline.run({}, "R", "latest")
        say(*state["done"])


def run_until_told(directory: str) -> None:
    """Run two stages, the second until a line comes in; say what became of it."""
    from checkpointdb import RunTakenError
    from checkpointdb.pipeline import Pipeline, Stage

    def prepare(state: dict) -> None:
        state["by"] = "the first"

    def wait(_state: dict) -> None:
        say("waiting")
        input()

    with PipelineCheckpoint(directory, **KEEP_ALL) as handle:
        stages = [Stage(prepare, version="1"), Stage(wait, "work", version="1")]
        try:
            Pipeline("shared", handle, stages).run({}, "R")
        except RunTakenError:
            say("taken")


class Interrupted(BaseException):
    """What the timer's handler raises, as Ctrl-C does."""


def leave_saves_behind(directory: str, end: str) -> None:
    """Exit while saves are in line, by returning or by an exception that is caught by nobody."""
    handle = PipelineCheckpoint(directory, **KEEP_ALL)
    for number in range(6):
        handle.save(array_state_of(f"tag {number}"), f"s{number}", wait=False)
    if end == "raise":
        raise SystemExit(0)


def shortest_seconds(work: Callable[[str], object]) -> float:
    """How long it takes on this machine at its best, for moments that are within it."""
    lasted = []
    for number in range(5):
        began = time.monotonic()
        work(f"warm {number}")
        lasted.append(time.monotonic() - began)
    return min(lasted)


def be_interrupted_in_the_background(directory: str) -> None:
    """Be interrupted while saves are captured, put in line and waited for, then close."""
    import signal

    def interrupt(*_: object) -> None:
        raise Interrupted

    def work(each: str) -> None:
        pending = handle.save(state_of(each), each, wait=False)
        handle.save(state_of(each), f"then {each}", wait=False)
        say("saved", pending.result())

    handle = PipelineCheckpoint(directory, busy_seconds=5, **KEEP_ALL)
    longest = shortest_seconds(work)
    signal.signal(signal.SIGALRM, interrupt)
    chosen = random.Random(11)
    for number in range(60):
        try:
            # A little beyond: some are to come to their end.
            signal.setitimer(signal.ITIMER_REAL, chosen.uniform(longest / 50, longest * 1.2))
            work(f"s{number}")
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            signal.setitimer(signal.ITIMER_REAL, 0)
            say("interrupted")
    handle.close()
    say("closed")


def be_interrupted(directory: str, times: str) -> None:
    """Be interrupted at random moments of saves and loads, and go on with the same handle."""
    import signal

    def interrupt(*_: object) -> None:
        raise Interrupted

    handle = PipelineCheckpoint(directory, busy_seconds=5, **KEEP_ALL)
    longest = shortest_seconds(lambda each: handle.save(state_of("before"), "before"))
    signal.signal(signal.SIGALRM, interrupt)
    chosen = random.Random(7)
    for number in range(int(times)):
        each = f"s{number}"
        saved = False
        try:
            # A little beyond the save: some are to hit the load.
            signal.setitimer(signal.ITIMER_REAL, chosen.uniform(longest / 50, longest * 1.2))
            handle.save(state_of(each), each)
            saved = True
            tag_of(handle.load("before"))
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            say("interrupted")
            signal.setitimer(signal.ITIMER_REAL, 0)
            again = f"again {number}"  # as programs do that save before they leave
            say("saved", handle.save(state_of(again), again))
        if saved:
            say("saved", each)
    signal.setitimer(signal.ITIMER_REAL, 0)
    say("saved", handle.save(state_of("after"), "after"))


def save_in_a_signal_handler(directory: str, times: str) -> None:
    """A handler saves at random moments of saves; say how long each took."""
    import signal

    handle = PipelineCheckpoint(directory, busy_seconds=60, **KEEP_ALL)
    longest = shortest_seconds(lambda each: handle.save(state_of("before"), "before"))
    chosen = random.Random(11)
    number = 0

    def save(name: str) -> None:
        began = time.monotonic()
        try:
            handle.save(state_of(name), name)
            say("saved", name)
        except CheckpointError as error:
            say("refused", name, type(error).__name__, error)
        say("took", time.monotonic() - began)

    signal.signal(signal.SIGALRM, lambda *_: save(f"handler-{number}"))
    for number in range(int(times)):
        signal.setitimer(signal.ITIMER_REAL, chosen.uniform(longest / 50, longest))
        save(f"main-{number}")
    signal.setitimer(signal.ITIMER_REAL, 0)
    handle.close()

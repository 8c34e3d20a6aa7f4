"""Who computes: threads of linear algebra, and a second process that works while this one goes on.

One thread is around the small matrices of this package, all of them around large ones.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from spatial_zb.base.errors import SpatialZbWarning

P = ParamSpec("P")
R = TypeVar("R")

#: Dense matrices of at least so many rows gain from threads; below, waking them costs more than the work.
LARGE = 1000

_lock = threading.Lock()
_state: dict[str, Any] = {"inside": 0, "limit": None}


@functools.cache
def _libraries() -> Any:
    """The libraries of linear algebra in this process; looked up once, which takes 3 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def give_back_memory() -> None:
    """Return to the system what is free within this process, where its C library keeps that (glibc).

    Arrays of some megabytes come from one heap, which shrinks from its end only: one small object above them holds all.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Let a public function compute with one thread of linear algebra, and give back what the caller had set.

    The matrices of a fit have tens of rows. A library that wakes a thread for each of them takes many times as long, most of
    all where other programs use the processor. Calls inside such a call change nothing.

    >>> @one_thread
    ... def twice(x: int) -> int:
    ...     return 2 * x
    >>> twice(2)
    4
    """

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        with _one():
            return function(*args, **kwargs)

    return called


@contextmanager
def _one() -> Iterator[None]:
    """One thread, from the first caller to enter until the last one leaves: the number is one for the whole process."""
    with _lock:
        _state["inside"] += 1
        if _state["inside"] == 1:
            _state["limit"] = _libraries().limit(limits=1)
    try:
        yield
    finally:
        with _lock:
            _state["inside"] -= 1
            if not _state["inside"]:
                _state["limit"].restore_original_limits()
                _state["limit"] = None


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """The threads that the caller had, inside a call of :func:`one_thread`, where a dense matrix has many ``rows``."""
    outer = _state["limit"]
    if outer is None or rows < LARGE:
        yield
        return
    with _libraries().limit(limits=outer.get_original_num_threads()["blas"] or 1):
        yield


# --- A second process

#: So many tasks wait before a second process is worth its start, about a second.
MANY = 12
#: Seconds between two looks at what the second process has done.
_LOOK = 0.02
#: What the second process is started with, and the end of names of tasks that wait, are taken, or are done.
_START = "from spatial_zb.base.threads import serve; serve()"
_WAITS, _TAKEN, _DONE, _FAILED = ".waits", ".taken", ".done", "failed"


def cores() -> int:
    """Processors that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


@dataclass(frozen=True)
class Done:
    """What a task gave, or what it raised, and what it warned of."""

    value: Any = None
    error: Exception | None = None
    notes: tuple[SpatialZbWarning, ...] = ()

    @classmethod
    def by(cls, task: tuple[Callable[..., Any], tuple[Any, ...]]) -> Done:
        """Do a task."""
        function, arguments = task
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SpatialZbWarning)
            try:
                value, error = function(*arguments), None
            except Exception as raised:
                value, error = None, raised
                error.add_note("".join(traceback.format_tb(raised.__traceback__)))
        notes = (note.message for note in caught)
        return cls(value, error, tuple(note for note in notes if isinstance(note, SpatialZbWarning)))


@dataclass
class Beside:
    """Tasks that a second process does while this one goes on, such as figures while numbers are computed.

    A task is a function and arguments that can be sent to another process. Tasks wait in files of a folder of their own,
    and whoever renames a file first does the task: the second process from the first one on, this one from the last one
    when it asks for all (:meth:`collect`). So nothing is done twice, and nothing is lost with the second process: what it
    had begun is done here. It ends with this process, however that ends, since it reads from it which tasks there are.
    """

    done: list[Done | None] = field(default_factory=list)
    _waiting: list[Any] = field(default_factory=list)
    _folder: Path | None = None
    _process: subprocess.Popen[str] | None = None

    def give(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Add a task; its place is its number.

        Raises
        ------
        Exception
            What an earlier one raised in the second process.
        """
        self.done.append(None)
        self._waiting.append((len(self.done) - 1, (function, arguments)))
        if self._process is None and len(self._waiting) >= MANY:
            self._start()
        if self._process is not None:
            self._send()
            if (self._place() / _FAILED).exists():
                self._raise()

    def collect(self) -> list[Done]:
        """All that was done since the last time, in the order in which it was given.

        Raises
        ------
        Exception
            The first that a task raised.
        """
        gc.freeze()  # what there is need not be looked through after each task
        try:
            for number, task in self._waiting:  # of a process that was not worth its start
                self.done[number] = Done.by(task)
            self._waiting.clear()
            for number in reversed([n for n, done in enumerate(self.done) if done is None]):
                task = self._claimed(number)
                self.done[number] = Done.by(task) if task is not None else self._awaited(number)
                gc.collect()
        finally:
            gc.unfreeze()
        found = [done for done in self.done if done is not None]
        self.done.clear()
        self._end()
        for each in found:
            if each.error is not None:
                raise each.error
        return found

    def _raise(self) -> None:
        """Raise what the second process met, without doing what is left."""
        for path in sorted(self._place().glob(f"*{_DONE}"), key=lambda path: int(path.stem)):
            found: Done = pickle.loads(path.read_bytes())
            if found.error is not None:
                raise found.error

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="spatial-zb-"))
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],  # a file of the user's folder hides no module
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **threads, "PYTHONPATH": paths},
            text=True,
            encoding="utf-8",
        )

    def _place(self) -> Path:
        assert self._folder is not None, "the second process was started"
        return self._folder

    def _send(self) -> None:
        """Write what waits to files, and name them to the second process; one that is gone is not missed."""
        process = self._process
        assert process is not None, "the second process was started"
        assert process.stdin is not None, "it is told what there is"
        for number, task in self._waiting:
            path = self._place() / f"{number}{_WAITS}"
            path.write_bytes(pickle.dumps(task, pickle.HIGHEST_PROTOCOL))
            with suppress(OSError):
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
        self._waiting.clear()

    def _claimed(self, number: int) -> Any:
        """The task, if nobody has begun it."""
        return _take(self._place() / f"{number}{_WAITS}")

    def _awaited(self, number: int) -> Done:
        """What the second process makes of a task that it has begun; done here where it died of it."""
        assert self._process is not None, "it has begun the task"
        path = self._place() / f"{number}{_DONE}"
        while not path.exists():
            if self._process.poll() is not None and not path.exists():
                return Done.by(pickle.loads(path.with_suffix(_TAKEN).read_bytes()))
            time.sleep(_LOOK)
        found: Done = pickle.loads(path.read_bytes())
        return found

    def _end(self, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            if kill:
                process.kill()
            assert process.stdin is not None, "it is told what there is"
            with suppress(OSError):
                process.stdin.close()
            process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(kill=True)


def _take(path: Path) -> Any:
    """A task, if nobody has begun it; whoever takes it keeps its file until it is done."""
    taken = path.with_suffix(_TAKEN)
    try:
        path.rename(taken)
    except FileNotFoundError:
        return None
    return pickle.loads(taken.read_bytes())


def serve() -> None:
    """In the second process: do the tasks whose files the first one names, until it says no more or ends.

    Ctrl-C is for the first process, which ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    named: SimpleQueue[Path] = SimpleQueue()
    threading.Thread(target=_listen, args=(named,), daemon=True).start()
    while True:
        path = named.get()
        task = _take(path)
        if task is None:
            continue
        found = Done.by(task)
        try:
            packed = pickle.dumps(found)
            if found.error is not None:
                pickle.loads(packed)  # an error may go there and not back
        except Exception as error:  # what cannot be sent back is told
            packed = pickle.dumps(Done(error=RuntimeError(f"{found.error or error!r}")))
        part = path.with_suffix(".part")
        part.write_bytes(packed)
        part.rename(path.with_suffix(_DONE))
        if found.error is not None:
            (path.parent / _FAILED).touch()
        del task, found, packed
        gc.collect()  # a figure holds its picture until it is collected, 20 MB at 300 dots an inch
        gc.freeze()


def _listen(named: SimpleQueue[Path]) -> None:
    """Hear which tasks there are; where the first process has all or is gone, end at once, whatever still waits."""
    path = None
    for line in sys.stdin.buffer:  # in UTF-8, whatever the system has
        path = Path(line.decode().rstrip())
        named.put(path)
    if path is not None:
        shutil.rmtree(path.parent, ignore_errors=True)
    os._exit(0)

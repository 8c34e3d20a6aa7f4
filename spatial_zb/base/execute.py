"""Many independent tasks: in this process, in several, or on a cluster — always with the same numbers.

joblib is the one interface: its loky processes on one machine, its Dask backend on several. Tasks travel in batches
of about half a second; the processes that the system kills are replaced and their tasks run again; what is finished
is kept in a :class:`ResultStore`, from which an interrupted run goes on.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from spatial_zb.base.arguments import Rng, gathered, seed_of
from spatial_zb.base.errors import SpatialZbWarning, SpecificationError, WorkerError
from spatial_zb.base.notes import warn_again
from spatial_zb.base.result_store import ResultStore

Progress = Callable[[int, int, float], None]

#: Seconds of work that are worth one message to a worker.
BATCH_SECONDS = 0.5
#: However fast the tasks are, no more than this many make a batch: progress and the store move on.
LARGEST_BATCH = 1000
#: Deaths of a worker after which the tasks it may have died of run one at a time, …
TOGETHER = 2
#: … and deaths of a task on its own after which it is given up.
ALONE = 3


@dataclass(frozen=True)
class Execution:
    """How tasks are run: what functions take as ``workers`` where a number of processes does not say it all.

    Numbers depend on none of it.

    Parameters
    ----------
    workers
        Processes on this machine; −1 for as many as it has cores.
    scheduler
        Address of a Dask scheduler (``"tcp://…"``); its workers are used and ``workers`` is not. The package must be
        installed there in the same version.
    store
        Results that are in it are not computed again, and every new one is written to it as soon as it is there; a
        path means the store in that folder.
    progress
        Called in this process with (tasks done, tasks, seconds left).

    Examples
    --------
    >>> import spatial_zb as zb
    >>> how = zb.Execution(workers=4, store="results/grid")
    >>> how.workers
    4
    """

    workers: int = 1
    scheduler: str | None = None
    store: ResultStore | str | Path | None = None
    progress: Progress | None = None

    @classmethod
    def of(cls, workers: int | Execution, **more: Any) -> Execution:
        """Of a number of processes, or an execution as it is; ``more`` replaces some of it.

        Raises
        ------
        SpecificationError
            A number of workers that makes no sense.
        """
        own = workers if isinstance(workers, Execution) else Execution(workers)
        if (
            not isinstance(own.workers, int)
            or isinstance(own.workers, bool)
            or (own.workers < 1 and own.workers != -1)
        ):
            raise SpecificationError(
                f"workers must be 1 or more, or -1 for all cores, not {own.workers!r}.",
                f"workers须为1或更大的整数，-1表示全部核心，而不是{own.workers!r}。",
            )
        return replace(own, **more)


#: The arguments of the last release that :class:`Execution` holds now.
by_execution = gathered("workers", Execution.of, "scheduler", "store", "progress")


@by_execution
def run_tasks(
    function: Callable[..., Any],
    tasks: Iterable[Any],
    *,
    workers: int | Execution = 1,
    seed: Rng = None,
) -> list[Any]:
    """Call a function for every task; results in the order of the tasks.

    Parameters
    ----------
    function
        Called with the task, and with a ``SeedSequence`` of its own as second argument when there is a ``seed``.
        Several processes need a function that can be sent to them; a store needs one at the top of a module (or a
        ``functools.partial`` of such a one).
    tasks
        Anything that can be sent to another process; with a store, plain values, arrays, tables or frozen
        dataclasses of these.
    workers
        Processes on this machine, or an :class:`Execution`.
    seed
        Number or sequence from which every task gets its own stream, by its place among the tasks.

    Raises
    ------
    SpecificationError
        A number of workers that makes no sense, an invalid seed, ``distributed`` missing, no cluster at the address, or
        a task or result that the store cannot take.
    WorkerError
        A task whose process died again and again (usually: memory).
    OutputError
        The store cannot be written.

    Notes
    -----
    Numbers do not depend on ``workers``, ``scheduler`` or the store. What ``function`` raises is raised here; Ctrl-C
    stops all workers. Either way finished results stay in the store. Warnings of the package are passed on.
    """
    tasks = list(tasks)
    how = Execution.of(workers)
    run = _Run(function, tasks, _streams(seed, len(tasks)), ResultStore.of(how.store), how.progress)
    run.resume()
    if how.scheduler is not None:
        with _cluster(how.scheduler) as backend:
            run.share(backend)
    elif how.workers != 1 and len(run.left) > 1:
        run.share({"backend": "loky", "n_jobs": how.workers, "inner_max_num_threads": 1})
    else:
        run.alone()
    return run.results


def _streams(seed: Rng, count: int) -> list[np.random.SeedSequence] | None:
    """One child of the seed per task, without counting up the seed's own children."""
    if seed is None:
        return None
    root = seed_of(seed, "seed")
    return [
        np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, i), pool_size=root.pool_size)
        for i in range(count)
    ]


@dataclass
class _Run:
    """One call of :func:`run_tasks`: what is done, what is left, how fast it goes."""

    function: Callable[..., Any]
    tasks: list[Any]
    streams: list[np.random.SeedSequence] | None
    store: ResultStore | None
    progress: Progress | None
    results: list[Any] = field(default_factory=list)
    left: dict[int, None] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    begun: float = 0.0
    seconds: float = 0.0
    computed: int = 0

    def resume(self) -> None:
        """Take from the store what is there."""
        self.results = [None] * len(self.tasks)
        self.left = dict.fromkeys(range(len(self.tasks)))
        if self.store is not None:
            self.store.prepare()
            self.keys = self.store.keys(self.function, [self._arguments(i) for i in self.left])
            for i in list(self.left):
                found = self.store.read(self.keys[i])
                if found is not None:
                    self.results[i] = found
                    del self.left[i]
        self.begun = time.perf_counter()
        if len(self.left) < len(self.tasks):
            self._say()

    def alone(self) -> None:
        """Do all in this process."""
        for i in list(self.left):
            self._take(i, self.function(*self._arguments(i)))
            self._say()

    def share(self, backend: dict[str, Any]) -> None:
        """Do all on other processes, replacing those that die."""
        deaths: Counter[int] = Counter()
        while self.left:
            worst = max(self.left, key=lambda i: deaths[i])
            suspect = deaths[worst] >= TOGETHER
            sent: dict[int, None] = {}
            batches = self._batches([worst] if suspect else list(self.left), deaths, sent)
            try:
                self._collect(backend, batches, sent)
            except _died() as error:
                deaths.update(list(sent))
                if suspect and deaths[worst] >= TOGETHER + ALONE:
                    raise self._given_up(worst) from error

    def _collect(self, backend: dict[str, Any], batches: Iterator[list[int]], sent: dict[int, None]) -> None:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(**backend):
            calls = (delayed(_batch)(self.function, b, [self._arguments(i) for i in b]) for b in batches)
            pool = Parallel(return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
            said: dict[str, SpatialZbWarning] = {}
            done = pool(calls)
            try:
                for batch, results, seconds, notes in done:
                    self.seconds += seconds
                    said |= {str(note): note for note in notes}
                    for i, result in zip(batch, results, strict=True):
                        sent.pop(i, None)
                        self._take(i, result)
                    self._say()
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # joblib counts what it cancels
                    done.close()
                for note in said.values():
                    warn_again(note)

    def _batches(
        self, waiting: Iterable[int], deaths: Counter[int], sent: dict[int, None]
    ) -> Iterator[list[int]]:
        """Batches of about half a second by the pace so far; single tasks before it is known or after a death."""
        queue = deque(waiting)
        while queue:
            batch = [queue.popleft()]
            while queue and len(batch) < self._batch_size() and not (deaths[batch[0]] or deaths[queue[0]]):
                batch.append(queue.popleft())
            sent.update(dict.fromkeys(batch))
            yield batch

    def _batch_size(self) -> int:
        if not self.computed:
            return 1
        pace = max(self.seconds / self.computed, BATCH_SECONDS / LARGEST_BATCH)
        return ceil(BATCH_SECONDS / pace)

    def _arguments(self, i: int) -> tuple[Any, ...]:
        return (self.tasks[i],) if self.streams is None else (self.tasks[i], self.streams[i])

    def _take(self, i: int, result: Any) -> None:
        self.results[i] = result if self.store is None else self.store.write(self.keys[i], result)
        self.left.pop(i)
        self.computed += 1

    def _say(self) -> None:
        if self.progress is not None:
            passed = time.perf_counter() - self.begun
            left = passed / self.computed * len(self.left) if self.computed else float("nan")
            self.progress(len(self.tasks) - len(self.left), len(self.tasks), left)

    def _given_up(self, i: int) -> WorkerError:
        shown = repr(self.tasks[i])
        shown = shown if len(shown) <= 200 else f"{shown[:200]}…"
        stored = self.store is not None
        kept = " What was finished is in the store." if stored else ""
        kept_zh = "已完成的部分在存储文件夹中。" if stored else ""
        return WorkerError(
            f"Task {i + 1} of {len(self.tasks)} ({shown}) ended its process {TOGETHER + ALONE} times, the last "
            f"{ALONE} of them alone: most likely this machine has too little memory. Make the task smaller, or "
            f"run it on a larger machine.{kept}",
            f"第{i + 1}项任务（共{len(self.tasks)}项，{shown}）使其进程终止{TOGETHER + ALONE}次，最后{ALONE}次为单独运行，"
            f"多半是内存不足。请缩小任务，或在内存更大的机器上运行。{kept_zh}",
        )


def _batch(
    function: Callable[..., Any], batch: list[int], arguments: list[tuple[Any, ...]]
) -> tuple[list[int], list[Any], float, list[SpatialZbWarning]]:
    """In the worker: results of some tasks, the seconds they took, and the warnings."""
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        results = [function(*each) for each in arguments]
    notes = [note.message for note in caught if isinstance(note.message, SpatialZbWarning)]
    return batch, results, time.perf_counter() - begun, notes


def _died() -> tuple[type[BaseException], ...]:
    """What is raised when a worker process is killed."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    scheduler = sys.modules.get("distributed.scheduler")  # not to be loaded on the way out
    return (BrokenProcessPool,) if scheduler is None else (BrokenProcessPool, scheduler.KilledWorker)


@contextmanager
def _cluster(address: str) -> Iterator[dict[str, Any]]:
    """The Dask backend of an existing cluster; the connection, not the cluster, is closed at the end."""
    try:
        from distributed import Client
    except ImportError:
        raise SpecificationError(
            f"scheduler={address!r} needs the package distributed: pip install spatial-zb[cluster].",
            f"scheduler={address!r}需要distributed程序包：pip install spatial-zb[cluster]。",
        ) from None
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise SpecificationError(
            f"No Dask scheduler answers at {address!r} ({error}): start one with `dask scheduler` and give the address "
            "it prints, such as tcp://192.168.1.5:8786.",
            f"{address!r}没有Dask调度器应答（{error}）：请用`dask scheduler`启动，并给出它显示的地址，"
            "如tcp://192.168.1.5:8786。",
        ) from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise SpecificationError(
                f"The scheduler at {address!r} has no workers: start some with `dask worker`.",
                f"{address!r}的调度器没有工作进程：请用`dask worker`启动。",
            )
        yield {"backend": "dask", "client": client, "n_jobs": -1}

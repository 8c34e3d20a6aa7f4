"""Many independent tasks: in this process, in several, or on a cluster — always with the same numbers.

joblib's loky processes on one machine, a Dask cluster on several. Tasks travel in batches of about half a second; the
processes that the system kills are replaced and their tasks run again; what is finished is kept in a
:class:`ResultStore`, from which an interrupted run goes on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spatial_zb.base.arguments import Rng, child_of, gathered, seed_of
from spatial_zb.base.errors import SpatialZbWarning, SpecificationError, WorkerError, listed, listed_zh
from spatial_zb.base.notes import warn_again
from spatial_zb.base.result_store import ResultStore
from spatial_zb.base.text import Text

if TYPE_CHECKING:
    from distributed import Client, Future

Progress = Callable[[int, int, float], None]

#: Seconds of work that are worth one message to a worker.
BATCH_SECONDS = 0.5
#: However fast the tasks are, no more than this many make a batch: progress and the store move on.
LARGEST_BATCH = 1000
#: Deaths of a worker after which the tasks it may have died of run one at a time, …
TOGETHER = 2
#: … and deaths of a task on its own after which it is given up.
ALONE = 3
#: Seconds between two looks at a cluster, and seconds without any worker after which it is given up.
LOOK, PATIENCE = 5.0, 120


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
        A task whose process died again and again (usually: memory); a cluster that lost its workers or its scheduler.
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
        with _cluster(how.scheduler) as client:
            run.share(partial(_on_cluster, client))
    elif how.workers != 1 and len(run.left) > 1:
        run.share(partial(_on_processes, how.workers))
    else:
        run.alone()
    return run.results


def _streams(seed: Rng, count: int) -> list[np.random.SeedSequence] | None:
    """One child of the seed per task."""
    if seed is None:
        return None
    root = seed_of(seed, "seed")
    return [child_of(root, i) for i in range(count)]


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

    def share(self, pool: _Pool) -> None:
        """Do all on other processes, replacing those that die; a task that kills its process every time is named."""
        deaths: Counter[int] = Counter()
        alone: Counter[int] = Counter()
        while self.left:
            worst = max(self.left, key=lambda i: deaths[i])
            suspect = deaths[worst] >= TOGETHER
            sent: dict[int, None] = {}
            batches = self._batches([worst] if suspect else list(self.left), deaths, sent)
            try:
                self._collect(pool, batches, sent)
            except _Death as death:
                blamed = death.tasks or list(sent)
                deaths.update(dict.fromkeys(blamed, death.times))
                if suspect:
                    alone[worst] += death.times
                    if alone[worst] >= ALONE:
                        raise self._given_up(worst, deaths[worst], alone[worst]) from death

    def _collect(self, pool: _Pool, batches: Iterator[list[int]], sent: dict[int, None]) -> None:
        calls = ((self.function, batch, [self._arguments(i) for i in batch]) for batch in batches)
        said: dict[str, SpatialZbWarning] = {}
        try:
            with closing(pool(calls)) as done:
                for batch, results, seconds, notes in done:
                    self.seconds += seconds
                    said |= {str(note): note for note in notes}
                    for i, result in zip(batch, results, strict=True):
                        sent.pop(i, None)
                        self._take(i, result)
                    self._say()
        finally:
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

    def _given_up(self, i: int, times: int, alone: int) -> WorkerError:
        shown, stored = _shown(self.tasks[i]), self.store is not None
        kept = (
            Text(" What was finished is in the store.", "已完成的部分在存储文件夹中。")
            if stored
            else Text("", "")
        )
        return WorkerError(
            f"Task {i + 1} of {len(self.tasks)} ({shown}) ended its process {times} times, the last {alone} of them "
            "alone: most likely this machine has too little memory. Make the task smaller, or run it on a larger "
            f"machine.{kept.en}",
            f"第{i + 1}项任务（共{len(self.tasks)}项，{shown}）使其进程终止{times}次，最后{alone}次为单独运行，"
            f"多半是内存不足。请缩小任务，或在内存更大的机器上运行。{kept.zh}",
        )


def _shown(task: Any) -> str:
    shown = repr(task)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


#: What goes to a worker: the function, numbers of tasks and their arguments; and what comes back from :func:`_batch`.
_Call = tuple[Callable[..., Any], list[int], list[tuple[Any, ...]]]
_Done = tuple[list[int], list[Any], float, list[SpatialZbWarning]]
_Pool = Callable[[Iterator[_Call]], Generator[_Done]]


class _Death(Exception):
    """A worker died: of which tasks, as far as it is known, and how often."""

    def __init__(self, tasks: list[int] | None = None, times: int = 1) -> None:
        super().__init__(tasks, times)
        self.tasks, self.times = tasks, times


def _batch(function: Callable[..., Any], batch: list[int], arguments: list[tuple[Any, ...]]) -> _Done:
    """In the worker: results of some tasks, the seconds they took, and the warnings."""
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpatialZbWarning)
        results = [function(*each) for each in arguments]
    notes = [note.message for note in caught if isinstance(note.message, SpatialZbWarning)]
    return batch, results, time.perf_counter() - begun, notes


def _on_processes(workers: int, calls: Iterator[_Call]) -> Generator[_Done]:
    """Processes of this machine. One that dies breaks the pool, so that any task under way may be why."""
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
        pool = Parallel(return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
        done = pool(delayed(_batch)(*call) for call in calls)
        try:
            for each in done:  # noqa: UP028 ("yield from" would close it outside of what follows)
                yield each
        except BrokenProcessPool as error:
            raise _Death from error
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # joblib counts what it cancels
                done.close()


def _on_cluster(client: Client, calls: Iterator[_Call]) -> Generator[_Done]:
    """Threads of a Dask cluster, one batch for each at a time.

    The scheduler runs a batch again whose worker died, and gives it up after some deaths (``allowed-failures``).
    """
    import cloudpickle
    from distributed import wait

    pending: dict[Future, _Call] = {}
    seen = time.monotonic()
    try:
        while True:
            with _reaching(client):
                threads = sum(client.nthreads().values())
            if threads:
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE:
                raise _deserted([arguments[0] for call in pending.values() for arguments in call[2]])
            while len(pending) < max(threads, 1) and (call := next(calls, None)):
                # packed, so that Dask looks for no keys and tasks of its own in what is sent
                pending[client.submit(_packed, cloudpickle.dumps(call), pure=False)] = call
            if not pending:
                return
            with suppress(TimeoutError), _reaching(client), client.as_current():
                wait(list(pending), timeout=LOOK, return_when="FIRST_COMPLETED")
            for future in [future for future in pending if future.done()]:
                if (done := _result(future, pending[future][1])) is not None:
                    del pending[future]
                    yield done
    finally:
        client.cancel(list(pending))


@contextmanager
def _reaching(client: Client) -> Iterator[None]:
    """Say that the scheduler is gone in words; only around what no task raises."""
    try:
        yield
    except TimeoutError:  # of waiting for a result; it is an OSError too
        raise
    except (OSError, concurrent.futures.CancelledError, asyncio.CancelledError) as error:
        address = client.scheduler.address
        raise WorkerError(
            f"The connection to the Dask scheduler at {address} is lost. Start it again and repeat the call; what is "
            "finished is kept where there is a store.",
            f"与{address}的Dask调度器的连接已断开。请重新启动它并再次运行；若设有存储文件夹，已完成的部分保留。",
        ) from error


def _deserted(tasks: list[Any]) -> WorkerError:
    at, at_zh = listed(map(_shown, tasks), 3), listed_zh(map(_shown, tasks), 3)
    return WorkerError(
        f"The cluster has had no worker for {PATIENCE} seconds. It was at {at}: most likely such a task needs more memory "
        "than a worker has. Start workers with more memory, or make the tasks smaller; what is finished is kept where there "
        "is a store.",
        f"集群已有{PATIENCE}秒没有工作进程，当时进行到{at_zh}，多半是任务所需内存超过工作进程的内存。请以更大的内存启动工作进程，"
        "或缩小任务；若设有存储文件夹，已完成的部分保留。",
    )


def _result(future: Future, batch: list[int]) -> _Done | None:
    """What a batch gave; None where it went with its worker, and is computed again."""
    from distributed.scheduler import KilledWorker

    failed = future.status == "error"
    try:
        return future.result(None if failed else LOOK)
    except KilledWorker as error:
        raise _Death(batch, error.allowed_failures + 1) from error
    except TimeoutError:
        if failed:  # it is the task's own
            raise
        return None


def _packed(call: bytes) -> _Done:
    import cloudpickle

    return _batch(*cloudpickle.loads(call))


@contextmanager
def _cluster(address: str) -> Iterator[Client]:
    """The connection to an existing Dask cluster; it, not the cluster, is closed at the end."""
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
    except ImportError:
        raise SpecificationError(
            f"scheduler={address!r} needs the package distributed: pip install spatial-zb[cluster].",
            f"scheduler={address!r}需要distributed程序包：pip install spatial-zb[cluster]。",
        ) from None
    try:
        kind, place = parse_address(address)
        if kind in ("tcp", "tls"):  # a Client that reaches nobody is waited for again when the program ends
            socket.create_connection(parse_host_port(place), timeout=10).close()
        client = Client(address, set_as_default=False)
    except (OSError, ValueError, TypeError, OverflowError) as error:
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
        yield client

"""One thread of linear algebra inside a public call, the caller's number outside; tasks in a second process."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import scipy.linalg  # noqa: F401  its library counts threads of its own
from task_functions import end_the_other, numbered_task, refuse, refuse_oddly
from threadpoolctl import ThreadpoolController

import spatial_zb as zb
from spatial_zb.base import threads as module
from spatial_zb.base.errors import DataError
from spatial_zb.base.threads import LARGE, Beside, one_thread, threads_for
from spatial_zb.models import ml


def threads() -> set[int]:
    return {library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture
def two():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("this build of NumPy has one thread only")
        yield


@one_thread
def inside(*calls):
    return [threads(), *(call() for call in calls)]


def large():
    with threads_for(LARGE):
        return threads()


def small():
    with threads_for(LARGE - 1):
        return threads()


def test_a_call_has_one_thread_and_gives_back_what_was_set(two):
    assert inside(inside, threads) == [{1}, [{1}], {1}]
    assert threads() == {2}


def test_an_error_gives_back_what_was_set(two):
    with pytest.raises(ZeroDivisionError):
        inside(lambda: 1 / 0)
    assert threads() == {2}


def test_large_matrices_have_the_threads_of_the_caller(two):
    assert inside(large, small, threads) == [{1}, {2}, {1}, {1}]
    assert large() == {2}


class Counted:
    """Libraries that only count: what OpenBLAS tells a second Python thread of its number differs by version."""

    def __init__(self):
        self.set = []

    def limit(self, *, limits):
        self.set.append(limits)
        return self

    def restore_original_limits(self):
        self.set.append("as before")


def test_the_last_of_two_calls_at_once_gives_back_what_was_set(monkeypatch):
    libraries, meet, left = Counted(), Barrier(2), []
    monkeypatch.setattr(module, "_libraries", lambda: libraries)

    @one_thread
    def work(stays):
        meet.wait()
        if stays:
            meet.wait()
            left.append(list(libraries.set))

    def call(stays):
        work(stays)
        if not stays:
            meet.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(call, [False, True]))
    assert left == [[1]]
    assert libraries.set == [1, "as before"]


def test_a_fit_runs_in_one_thread(two, monkeypatch):
    seen, genuine = set(), ml.maximise

    def spied(*arguments):
        seen.update(threads())
        return genuine(*arguments)

    monkeypatch.setattr(ml, "maximise", spied)
    _, panel, W = zb.example("delta")
    zb.fit_durbin(zb.DurbinSpec("industry", ["talent"], fixed_effects="two_way"), panel, W)
    assert seen == {1}
    assert threads() == {2}


# --- A second process

#: Seconds in which a process that is told to end must have ended.
SOON = 60.0


def ended(process: int) -> bool:
    limit = time.monotonic() + SOON
    while time.monotonic() < limit:
        try:
            with open(f"/proc/{process}/stat") as stream:
                if stream.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def at_once(monkeypatch):
    """A second process from the first task on."""
    monkeypatch.setattr(module, "MANY", 1)


def test_tasks_are_done_once_in_two_processes_and_given_back_in_order(at_once):
    with Beside() as beside:
        for number in range(6):
            beside.give(numbered_task, number, 0.3)
        first, limit = beside._place() / "0.taken", time.monotonic() + SOON
        while not first.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        found = beside.collect()
        assert [done.value[0] for done in found] == list(range(6))
        assert len({done.value[1] for done in found}) == 2
        assert [[note.zh for note in done.notes] for done in found] == [[], [], [], ["请看"], [], []]
        beside.give(numbered_task, 9)  # another round
        assert beside.collect()[0].value[0] == 9


def test_few_tasks_are_not_worth_a_process():
    with Beside() as beside:
        beside.give(numbered_task, 1)
        assert beside._process is None
        assert beside.collect()[0].value == (1, os.getpid())


def test_an_error_of_the_second_process_is_raised_here_in_its_own_kind(at_once):
    with Beside() as beside:
        beside.give(refuse, 1)
        folder, limit = beside._place(), time.monotonic() + SOON
        while not (folder / "failed").exists() and time.monotonic() < limit:
            time.sleep(0.02)
        with pytest.raises(DataError, match="no 1") as raised:  # at the next task, not at the end
            beside.give(numbered_task, 2)
        assert raised.value.zh == "没有1"
        process = beside._process
    assert process is not None
    assert process.poll() is not None
    assert not folder.exists()


def test_what_the_second_process_dies_of_is_done_here(at_once):
    with Beside() as beside:
        for number in range(3):
            beside.give(numbered_task, number)
        beside.give(end_the_other, os.getpid())
        assert beside._process is not None
        beside._process.wait(SOON)
        assert beside.collect()[3].value == "done by the first"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="processes are looked for in /proc")
def test_the_second_process_ends_with_the_first():
    """At once, in the middle of a task and with others that wait; and the folder goes."""
    code = (
        "import os, time; from spatial_zb.base import threads; threads.MANY = 1; b = threads.Beside(); "
        "[b.give(time.sleep, 100.0) for _ in range(3)]; print(b._process.pid, b._place(), flush=True)\n"
        "while not (b._place() / '0.taken').exists(): time.sleep(0.02)\n"
        "os.kill(os.getpid(), 9)"
    )
    first = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SOON)
    assert first.returncode == -9
    second, folder = first.stdout.split()
    assert ended(int(second))
    assert not os.path.exists(folder)


def test_a_file_of_the_users_folder_hides_no_module_from_the_second_process(at_once, tmp_path, monkeypatch):
    (tmp_path / "csv.py").write_text("raise SystemExit('of the user')", "utf-8")
    (tmp_path / "pickle.py").write_text("raise SystemExit('of the user')", "utf-8")
    monkeypatch.setattr(sys, "path", [path or os.getcwd() for path in sys.path])
    monkeypatch.chdir(tmp_path)
    with Beside() as beside:
        beside.give(numbered_task, 1)
        taken, limit = beside._place() / "0.taken", time.monotonic() + SOON
        while not taken.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        assert beside.collect()[0].value[1] != os.getpid()


def test_an_error_that_cannot_be_sent_back_is_told(at_once):
    with Beside() as beside:
        beside.give(refuse_oddly, 3)
        folder, limit = beside._place(), time.monotonic() + SOON
        while not (folder / "failed").exists() and time.monotonic() < limit:
            time.sleep(0.02)
        with pytest.raises(RuntimeError, match="odd 3"):
            beside.collect()

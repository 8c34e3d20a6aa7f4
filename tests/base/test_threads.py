"""One thread of linear algebra inside a public call, the caller's number outside."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import scipy.linalg  # noqa: F401  its library counts threads of its own
from threadpoolctl import ThreadpoolController

import spatial_zb as zb
from spatial_zb.base import threads as module
from spatial_zb.base.threads import LARGE, one_thread, threads_for
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
